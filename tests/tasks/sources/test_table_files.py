import gzip
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from models.errors import TailorbirdError
from models.ingest.tabular.mapping_keys import FillDown
from tasks.sources import line_reader, table_files
from tasks.sources.csv_reader import Csv

ROWS = pa.table({"a": range(1000), "b": [f"row {number}" for number in range(1000)]})


@pytest.fixture(params=["rows.parquet", "rows.csv"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / request.param
    if path.suffix == ".csv":
        csv.write_csv(ROWS, path)
    else:
        pq.write_table(ROWS, path, row_group_size=170)
    return path


def rows_of(path: Path) -> pa.Table:
    """Values in CSV stay texts."""
    return ROWS.set_column(0, "a", ROWS["a"].cast("string")) if path.suffix == ".csv" else ROWS


@pytest.mark.parametrize("size", [1, 170, 300, 999, 1000, 1001])
def test_a_file_comes_in_chunks_of_the_same_size_and_in_order(path: Path, size: int) -> None:
    chunks = [chunk.rows for chunk in table_files.chunks(path, ["b", "a"], size)]
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert 0 < len(chunks[-1]) <= size
    assert pa.concat_tables(chunks).equals(rows_of(path).select(["b", "a"]))


def test_a_file_states_its_columns_and_rows_without_being_read(path: Path) -> None:
    typed = {"a": "number", "b": "text"}
    assert dict(table_files.column_kinds(path)) == (
        typed if path.suffix == ".parquet" else dict.fromkeys(typed, "untyped")
    )
    assert table_files.row_count(path) == 1000


def test_times_and_all_kinds_of_numbers_are_known(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    columns = {
        "t": pa.array([0], pa.timestamp("ns")),
        "day": pa.array([0], pa.date32()),
        "f": [1.5],
        "d": [Decimal("1.50")],
        "flag": [True],
        "words": pa.array(["a"]).dictionary_encode(),
        "many": [["a"]],
    }
    pq.write_table(pa.table(columns), path)
    assert dict(table_files.column_kinds(path)) == {
        **dict.fromkeys(["t", "day"], "time"),
        **dict.fromkeys(["f", "d"], "number"),
        "flag": "any",
        "words": "text",
        "many": "nested",
    }


def test_a_column_that_is_not_there_comes_as_nulls(path: Path) -> None:
    [(rows, numbers, misfits)] = table_files.chunks(path, ["b", "c", "a"])
    assert (numbers.tolist(), misfits) == (list(range(1000)), [])
    assert rows.column_names == ["b", "c", "a"]
    assert rows["c"].null_count == 1000


def test_a_parquet_file_with_text_that_is_no_utf8_or_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.parquet"
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    pq.write_table(pa.table({"a": broken}), path)
    with pytest.raises(TailorbirdError, match=r"bytes.parquet cannot be read: column 1: a value is not UTF-8"):
        list(table_files.chunks(path, ["a"]))
    path = tmp_path / "damaged.parquet"
    pq.write_table(ROWS, path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[40:400] = b"\0" * 360
    path.write_bytes(content)
    with pytest.raises(TailorbirdError, match=r"damaged.parquet cannot be read"):
        list(table_files.chunks(path, ["a", "b"]))


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.jsonl.gz"])
@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_every_line_has_its_number_and_its_place_whatever_the_size_of_the_chunks(
    tmp_path: Path, name: str, size: int
) -> None:
    texts = [b"{}", b"", b'{"a": 1}\r', b"\xff\x00", b"x" * 50, b"no end"]
    content = b"\n".join(texts)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    table = pa.concat_tables(line_reader.chunks(path, size))
    assert table["text"].to_pylist() == texts
    assert table["row_number"].to_pylist() == list(range(len(texts)))
    assert all(content[at:].startswith(text) for at, text in zip(table["offset"].to_pylist(), texts, strict=True))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "LONGEST", 3 * 2**20)
    path = tmp_path / "calls.json"
    path.write_bytes(b"[" + b'{"type": "track"},' * 300_000 + b"]")
    with pytest.raises(TailorbirdError, match=r"a line of more than 3 MiB\. One call a line is expected"):
        list(line_reader.chunks(path, 2**20))


def test_a_packed_file_that_ends_early_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"type": "track"}\n' * 1000)[:-20])
    with pytest.raises(TailorbirdError, match="cannot be read to its end"):
        list(line_reader.chunks(path))
    path = tmp_path / "calls.jsonl"
    path.touch()
    with pytest.raises(TailorbirdError, match="is empty"):
        list(line_reader.chunks(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_chunks_state_how_much_of_the_stored_file_was_read(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, b"".join(b'{"number": %d}\n' % number for number in range(200_000))
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    read = [int(rows.schema.metadata[line_reader.READ]) for rows in line_reader.chunks(path, 100_000)]
    assert len(read) > 10
    assert read == sorted(read)
    assert 0 < read[0] < read[-1] == path.stat().st_size


def test_orders_are_filled_down_alike_in_chunks_of_any_size(tmp_path: Path) -> None:
    orders = [
        ("A", "paid", ""),
        ("A", "", "x"),
        ("A", " ", ""),
        ("B", "", "y"),
        ("B", "", ""),
        ("A", "", ""),
        ("", "z", ""),
    ]
    lines = [",".join(row) for row in [("order", "status", "note"), *orders, ("", "", ""), ("C", "void", "")]]
    (tmp_path / "orders.csv").write_text("\n".join(lines))
    form = Csv(fill_down=FillDown(within="order", columns=("status", "note")))
    for size in range(1, 11):
        chunks = table_files.chunks(tmp_path / "orders.csv", ["status", "note", "order"], size, form)
        cells = [
            (row["order"], row["status"].strip(), row["note"]) for chunk in chunks for row in chunk.rows.to_pylist()
        ]
        own = [
            ("A", "paid", ""),
            ("A", "paid", "x"),
            ("A", "paid", "x"),
            ("B", "", "y"),
            ("B", "", "y"),
            ("A", "", ""),
            ("A", "z", ""),
            ("A", "z", ""),
            ("C", "void", ""),
        ]
        assert cells == own, size
