"""Columns of any type of Parquet are read, left out or refused in a sentence by `check`, `init --from` and `ingest`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import TailorbirdError
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping
from tasks.ingest.events.ingest_events import ingest_events

ROWS = 60
FAR = 5_000_000 * 365
"""Days: a date in year 5 million."""
MAPPING = """
name = "shop"
consent = "given"
consent_note = "test"
[events]
file = "orders*"
event_id = "order_id"
user_id = "customer_id"
item_id = "product_id"
occurred_at = "order_date"
quantity = "quantity"
constants = { event_type = "purchase" }
"""
USUAL = {
    "order_id": pa.array([f"o{n}" for n in range(ROWS)]),
    "customer_id": pa.array([f"c{n % 9}" for n in range(ROWS)]),
    "product_id": pa.array([f"p{n % 7}" for n in range(ROWS)]),
    "order_date": pa.array([19_000 + n for n in range(ROWS)], pa.int32()).cast(pa.date32()),
    "quantity": pa.array([1 + n % 2 for n in range(ROWS)]),
}
NUMBERS = pa.array(range(ROWS), pa.int64())
BYTES = [bytes([255, n, 254]) for n in range(ROWS)]
ODD: dict[str, pa.Array] = {
    "text view": USUAL["customer_id"].cast(pa.string_view()),
    "large text": USUAL["customer_id"].cast(pa.large_string()),
    "codes of text": USUAL["customer_id"].dictionary_encode(),
    "bytes": pa.array(BYTES, pa.binary()),
    "bytes view": pa.array(BYTES, pa.binary_view()),
    "large bytes": pa.array(BYTES, pa.large_binary()),
    "three bytes": pa.array(BYTES, pa.binary(3)),
    "far date": pa.array([FAR] * ROWS, pa.int32()).cast(pa.date32()),
    "one far date": pa.array([FAR, *range(19_000, 19_000 + ROWS - 1)], pa.int32()).cast(pa.date32()),
    "date before year 1": pa.array([-FAR] * ROWS, pa.int32()).cast(pa.date32()),
    "far date of milliseconds": pa.array([FAR * 86_400_000] * ROWS, pa.int64()).cast(pa.date64()),
    "far time": pa.array([2**61] * ROWS, pa.timestamp("ms")),
    "far time with a zone": pa.array([2**61] * ROWS, pa.timestamp("us", "UTC")),
    "time of day": NUMBERS.cast(pa.time64("us")),
    "duration": NUMBERS.cast(pa.duration("s")),
    "decimal": NUMBERS.cast(pa.decimal256(60, 5)),
    "half": NUMBERS.cast(pa.float16()),
    "true": pa.array([n % 2 == 0 for n in range(ROWS)]),
    "nothing": pa.nulls(ROWS),
    "list": pa.array([[n] for n in range(ROWS)]),
    "fields": pa.array([{"a": n} for n in range(ROWS)]),
    "pairs": pa.array([[("a", n)] for n in range(ROWS)], pa.map_(pa.string(), pa.int64())),
    "uuid": pa.array([bytes([n] * 16) for n in range(ROWS)], pa.uuid()),
}
NEW = "signature"


def odd_shop(folder: Path, kind: str, column: str) -> tuple[str, str]:
    """Write a mapping and a file with a column of this kind."""
    (folder / "shop.toml").write_text(MAPPING)
    pq.write_table(pa.table(USUAL | {column: ODD[kind]}), folder / "orders.parquet")
    return str(folder / "shop.toml"), str(folder / "orders.parquet")


@pytest.mark.parametrize("column", ["customer_id", "order_date", "quantity", NEW])
@pytest.mark.parametrize("kind", ODD)
def test_a_column_of_any_type_is_checked_and_drafted_or_named(tmp_path: Path, kind: str, column: str) -> None:
    mapping, path = odd_shop(tmp_path, kind, column)
    [table] = check_mapping(mapping, [path])["tables"]
    assert table["refused"] or table["counts"]["read"] == ROWS
    with suppress(TailorbirdError):
        assert draft_mapping([path], "shop").text
    if column == NEW:
        assert table["counts"]["accepted"] == ROWS
        assert 'user_id = "customer_id"' in draft_mapping([path], "shop").text


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(
    ("kind", "column", "accepted"), [("text view", "customer_id", ROWS), ("one far date", "order_date", ROWS - 1)]
)
def test_text_views_are_ingested_and_a_far_date_costs_its_row(
    tmp_path: Path, kind: str, column: str, accepted: int
) -> None:
    mapping, path = odd_shop(tmp_path, kind, column)
    limits = "[limits]\nevents = { quarantined_share = 0.5 }\n"
    Path(mapping).write_text(MAPPING + limits)
    entry: Any = ingest_events.fn(mapping, path)
    assert (entry["read"], entry["accepted"], entry["quarantined"]) == (ROWS, accepted, ROWS - accepted)


@pytest.mark.parametrize("size", [200_000, 10_000_000])
def test_a_long_cell_is_read_or_named_by_its_line(tmp_path: Path, size: int) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING)
    lines = [f"o{n},c{n % 9},p{n % 7},2024-03-{n % 28 + 1:02},1,{'x' * (size if n == 40 else 3)}" for n in range(ROWS)]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join([",".join([*USUAL, NEW]), *lines]) + "\n")
    [table] = check_mapping(str(tmp_path / "shop.toml"), [str(path)])["tables"]
    if size < 8 << 20:
        assert table["counts"]["accepted"] == ROWS
        assert draft_mapping([str(path)], "shop").text
        return
    assert "line 42: a value is longer than 8 MiB" in table["refused"]
    with pytest.raises(TailorbirdError, match="a value is longer than 8 MiB"):
        draft_mapping([str(path)], "shop")
