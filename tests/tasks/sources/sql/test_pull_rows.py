"""Values of drivers keep their meaning on their way through a file, whatever the later chunks hold."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.sources.sql.pull_rows import ParquetSpool, arrow_column

MOMENT = datetime(2024, 3, 1, 12, tzinfo=UTC)
NUMBER = Decimal("12345678901234567890123456789012345678")


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([None, None], pa.null(), [None, None]),
        ([1, None], pa.int64(), [1, None]),
        ([2**70, 1], pa.decimal128(38, 0), [Decimal(2**70), Decimal(1)]),
        ([True, None], pa.bool_(), [True, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([Decimal("1.50"), Decimal("2.125")], pa.decimal128(38, 3), [Decimal("1.500"), Decimal("2.125")]),
        ([NUMBER, Decimal("0.5")], pa.string(), [str(NUMBER), "0.5"]),
        ([Decimal("NaN")], pa.string(), ["NaN"]),
        ([MOMENT], pa.timestamp("us", "UTC"), [MOMENT]),
        ([date(2024, 3, 1)], pa.date32(), [date(2024, 3, 1)]),
        ([time(12)], pa.string(), ["12:00:00"]),
        ([UUID(int=7), "x"], pa.string(), [str(UUID(int=7)), "x"]),
        ([{"a": [1]}, ["b"]], pa.string(), [json.dumps({"a": [1]}), '["b"]']),
        ([b"word", memoryview(b"\xff")], pa.string(), ["word", "ff"]),
        ([MOMENT, MOMENT.replace(tzinfo=None)], pa.string(), [MOMENT.isoformat(), "2024-03-01T12:00:00"]),
    ],
)
def test_values_become_arrow(values: list[Any], kind: pa.DataType, stored: list[Any]) -> None:
    made = arrow_column(values)
    assert (made.type, made.to_pylist()) == (kind, stored)


@pytest.mark.parametrize(
    ("chunks", "stored"),
    [
        ([[None], [1], [2]], [None, 1, 2]),
        ([[1], [Decimal("2.5")], [Decimal("3.25")]], [Decimal("1.00"), Decimal("2.50"), Decimal("3.25")]),
        ([[1], [2.5], [None]], [1.0, 2.5, None]),
        ([[1], ["two"], [3]], ["1", "two", "3"]),
        ([[date(2024, 3, 1)], [datetime(2024, 3, 1, 12)]], [datetime(2024, 3, 1), datetime(2024, 3, 1, 12)]),
        ([[True], ["x"]], ["true", "x"]),
    ],
)
def test_later_chunks_may_hold_wider_types(chunks: list[list[Any]], stored: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with ParquetSpool(path, ["a"]) as spool:
        for chunk in chunks:
            spool.write([(value,) for value in chunk])
        spool.finish()
    assert pq.read_table(path)["a"].to_pylist() == stored
    assert [found.name for found in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_same_rows_are_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with ParquetSpool(tmp_path / name, ["n", "t"]) as spool:
            spool.write([(number, f"t{number}") for number in range(1000)])
            spool.write([(None, "x")])
            spool.finish()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
