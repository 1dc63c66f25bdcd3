import csv as standard
import gzip
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import TailorbirdError
from models.ingest.tabular.table_mapping import EventsMapping
from tasks.sources import table_files
from tasks.sources.csv_reader import PLAIN, Csv, csv_of, header, lines, row_count


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, csv: Csv = PLAIN) -> dict[str, list[object]]:
    rows = pa.concat_tables(chunk.rows for chunk in table_files.chunks(path, ["id", "n"], csv=csv))
    assert table_files.row_count(path, csv, ["id", "n"]) == len(rows)
    return dict(rows.to_pydict())


def test_cells_stay_as_they_are_written(tmp_path: Path) -> None:
    path = written(tmp_path, "n,id,more\n1,007,x\n,NULL,\n2.5,1e3,y\n")
    assert read(path) == {"id": ["007", "NULL", "1e3"], "n": ["1", "", "2.5"]}


@pytest.mark.parametrize(
    "content",
    [
        "id,n\n007,1\n008,2\n",
        "id,n\n007,1\n008,2",
        "id,n\r\n007,1\r\n\r\n008,2\r\n",
        "\ufeffid,n\n007,1\n\n008,2\n\n",
        '"id","n"\n"007",1\n"008","2"\n',
    ],
    ids=["plain", "no last end", "windows", "byte order mark, blank lines", "quotation marks"],
)
def test_the_same_rows_are_read_however_they_are_written(tmp_path: Path, content: str) -> None:
    assert read(written(tmp_path, content)) == {"id": ["007", "008"], "n": ["1", "2"]}
    assert read(written(tmp_path, gzip.compress(content.encode()), "rows.csv.gz"))["id"] == ["007", "008"]


def test_separator_and_encoding_are_the_mappings(tmp_path: Path) -> None:
    part = EventsMapping(
        file="f",
        separator=";",
        encoding="Latin-1",
        user_id="id",
        item_id="id",
        occurred_at="t",
        value="n",
        constants={"event_type": "view"},
    )
    assert csv_of(part) == Csv(";", "iso8859-1")
    assert read(written(tmp_path, "id;n\n\xfc;1,5\n".encode("latin-1")), csv_of(part)) == {"id": ["\xfc"], "n": ["1,5"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,n\n1,1\n2\n3,3\n", "line 3 has 1 value, and the first line names 2 columns"),
        (b"x,n,id\n1,\xc3\xbc,1\n1,2,\xff\n", "column 'id', line 3: a value is not UTF-8"),
        ('id,n\n1,1\n"2,2\n3,3\n4,4\n', "line 3: unexpected end of data"),
        ("", "it is empty"),
        ("id,id,n\n1,1,1\n", "its columns 1 and 2 have the same name in the first line"),
        ("id;n\n1;1,5\n2;2\n", '`separator = ";"` would read 3 of 3 lines'),
    ],
)
def test_a_mistake_in_the_middle_is_reported_with_file_and_line_and_no_row_is_dropped(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TailorbirdError, match=rf"rows.csv cannot be read: .*{message}.*nothing was stored"):
        table_files.row_count(path, PLAIN)


BROKEN = [
    (
        'id,n\n1,1\n\n2\n"3\n3",3\n4,4,4\n5\n',
        "line 4 has 1 value, line 7 has 3 values, line 8 has 1 value, and the first line names 2 columns.",
    ),
    ("id,n\n" + "1\n" * 15, "line 11 has 1 value and 5 more lines with another number, and the first line"),
    ('id,n\n1\n2,2\n"3,3\n', "line 2 has 1 value, and the first line names 2 columns; line 4: unexpected end of data."),
    (b'id,n\n\n"1\n1",1\n\n\xff,2\n\xc3\xbc,3\n', "column 'id', line 6: a value is not UTF-8."),
]


@pytest.mark.parametrize(("content", "fault"), BROKEN)
@pytest.mark.parametrize("counted", [True, False])
def test_all_broken_lines_are_named_at_once_as_an_editor_numbers_them(
    tmp_path: Path, content: str | bytes, fault: str, counted: bool
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TailorbirdError) as refused:
        table_files.row_count(path, PLAIN, tolerated=1.0) if counted else list(table_files.chunks(path, ["id", "n"]))
    assert fault in str(refused.value)


def test_damaged_bytes_in_columns_that_no_key_reads_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, b"more,id,n\n\xff,\xc3\xbc,1\n")
    assert read(path) == {"id": ["\xfc"], "n": ["1"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_the_encoding_is_detected_and_named(tmp_path: Path, encoding: str, ending: str) -> None:
    content = "id,n\nM\xfcller,1\n\u20ac,2\n".encode(encoding)
    path = written(tmp_path, gzip.compress(content) if ending.endswith("gz") else content, f"rows.{ending}")

    assert read(path) == {"id": ["M\xfcller", "\u20ac"], "n": ["1", "2"]}
    name = {"cp1252": "Windows-1252", "utf-8": "UTF-8", "utf-8-sig": "UTF-8"}.get(encoding, "UTF-16")
    assert table_files.row_numbering(path, PLAIN).encoding == name


@pytest.mark.parametrize("stated", ["cp1250", "utf-8", "utf-16-le", "utf-32"])
@pytest.mark.parametrize(("written_as", "name"), [("utf-16", "UTF-16"), ("utf-8-sig", "UTF-8"), ("utf-32", "UTF-32")])
def test_a_byte_order_mark_counts_more_than_the_encoding_of_the_mapping(
    tmp_path: Path, stated: str, written_as: str, name: str
) -> None:
    path = written(tmp_path, "id,n\nGęsia,1\n\u20ac,2\n".encode(written_as))

    assert read(path, Csv(encoding=stated)) == {"id": ["Gęsia", "\u20ac"], "n": ["1", "2"]}
    stated_name = None if name.lower() == stated else name
    assert table_files.row_numbering(path, Csv(encoding=stated)).encoding == stated_name


def test_a_file_that_was_rewritten_is_counted_again(tmp_path: Path) -> None:
    assert table_files.row_count(written(tmp_path, "id,n\n1,1\n")) == 1
    assert table_files.row_count(written(tmp_path, "id,n\n1,1\n2,2\n")) == 2


NUMBERED = count()
# Each example in a file of its own: two of one size in one tick of the clock look like one file.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_every_text_that_can_be_written_is_read_as_it_was(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / f"{next(NUMBERED)}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        standard.writer(file, quoting=standard.QUOTE_ALL).writerows([("id", "n"), *rows])
    assert table_files.row_count(path) == len(rows)
    read = pa.concat_tables(chunk.rows for chunk in table_files.chunks(path, ["id", "n"]))
    assert list(zip(*read.to_pydict().values(), strict=True)) == rows


@given(
    content=st.lists(
        st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\r\n", b"\xff", b"\0", b" ", b"1"]), max_size=24
    )
)
def test_whatever_a_file_holds_it_is_read_to_the_last_row_or_refused(tmp_path: Path, content: list[bytes]) -> None:
    path = written(tmp_path, b"id,n\n" + b"".join(content), f"{next(NUMBERED)}.csv")
    try:
        rows = table_files.row_count(path, tolerated=1.0)
    except TailorbirdError:
        return
    chunks = list(table_files.chunks(path, ["id", "n"], 2))
    assert rows == sum(len(chunk.rows) for chunk in chunks)
    misfits = [line.number for chunk in chunks for line in chunk.misfits]
    numbers = [number for chunk in chunks for number in chunk.numbers.tolist()]
    assert numbers == sorted(numbers)
    assert misfits == sorted(misfits)
    assert sorted(numbers + misfits) == list(range(rows + len(misfits)))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_far_too_many_columns_is_refused_before_its_names_are_compared(tmp_path: Path, kind: str) -> None:
    names = [f"c{number}" for number in range(20_000)]
    path = tmp_path / f"wide.{kind}"
    if kind == "csv":
        path.write_text(",".join(names) + "\n")
    else:
        pq.write_table(pa.table({name: pa.array([1], pa.int8()) for name in names}), path)
    with pytest.raises(TailorbirdError, match=r"20,000 columns, and a table has 10,000 at most") as refusal:
        table_files.column_kinds(path)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_lines_that_do_not_fit_come_beside_the_rows_with_their_numbers(
    tmp_path: Path, encoding: str, ending: str
) -> None:
    content = 'id,n\n\xfc\n1,1\n\n"2\n2",2\n3,"3\n3",3\n4,4\n5,5\n6\n'.encode(encoding)
    path = written(tmp_path, gzip.compress(content) if ending.endswith("gz") else content, f"rows.{ending}")

    assert table_files.row_count(path, PLAIN, tolerated=0.5) == 4
    for size in (1, 2, 3, 4, 5):
        chunks = list(table_files.chunks(path, ["id", "n"], size))
        assert [number for chunk in chunks for number in chunk.numbers] == [1, 2, 4, 5]
        assert [tuple(line) for chunk in chunks for line in chunk.misfits] == [
            (0, 1, 2, "\xfc"),
            (3, 3, 2, '3,"3\n3",3'),
            (6, 1, 2, "6"),
        ]
        assert all(line.number < chunk.numbers[-1] for chunk in chunks[:-1] for line in chunk.misfits)
    assert table_files.row_numbering(path, PLAIN).numbers(np.array([0, 3, 6])).tolist() == [2, 7, 11]


def test_reading_stops_early_if_most_lines_do_not_fit(tmp_path: Path) -> None:
    path = written(tmp_path, "id,n\n" + "1;1\n" * 3_000)
    for read in (
        lambda: list(table_files.chunks(path, ["id", "n"])),
        lambda: table_files.row_count(path, tolerated=1.0),
    ):
        with pytest.raises(TailorbirdError, match="line 11 has 1 value and 2,990 more lines with another number"):
            read()


def test_no_more_lines_are_left_out_than_are_tolerated_and_none_that_is_not_utf_8(tmp_path: Path) -> None:
    path = written(tmp_path, "id,n\n" + "1,1\n" * 9 + "2\n")
    assert table_files.row_count(path, tolerated=0.1) == 9
    with pytest.raises(TailorbirdError, match="line 11 has 1 value, and the first line names 2 columns"):
        table_files.row_count(path, tolerated=0.09)
    path = written(tmp_path, b"id,n\n" + b"1,\xc3\xbc\n" * 9 + b"\xff\n")
    with pytest.raises(TailorbirdError, match="line 11: a value is not UTF-8"):
        table_files.row_count(path, tolerated=1.0)


def test_lines_above_the_header_are_skipped_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbf"Shop\nLtd"\n\na,b\n1,2\n1,2,3\n"x\ny",3\n4,5\n')
    csv = Csv(skip=3)
    assert header(path, csv) == ["a", "b"]
    assert row_count(path, csv, tolerated=0.5) == 3
    [chunk] = table_files.chunks(path, ["a"], csv=csv)
    assert chunk.rows["a"].to_pylist() == ["1", "x\ny", "4"]
    assert (list(chunk.numbers), [line.number for line in chunk.misfits]) == ([0, 2, 3], [1])
    assert lines(path, csv, np.arange(4)).tolist() == [5, 6, 7, 9]
