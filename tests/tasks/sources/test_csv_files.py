import csv as standard
import gzip
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import TailorbirdError
from models.shapes.mapping import EventsMapping
from tasks.sources import files
from tasks.sources.csv_files import PLAIN, Csv, csv_of

NUMBERS = Csv(numbers=frozenset({"n"}))


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, csv: Csv = NUMBERS) -> dict[str, list[object]]:
    rows = pa.concat_tables(files.chunks(path, ["id", "n"], csv=csv))
    assert files.row_count(path, csv, ["id", "n"]) == len(rows)
    return dict(rows.to_pydict())


def test_ids_stay_as_they_are_written_and_numbers_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "n,id,more\n1,007,x\n,NULL,\n2.5,1e3,y\n")
    assert read(path) == {"id": ["007", "NULL", "1e3"], "n": [1.0, None, 2.5]}


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
    assert read(written(tmp_path, content)) == {"id": ["007", "008"], "n": [1.0, 2.0]}
    assert read(written(tmp_path, gzip.compress(content.encode()), "rows.csv.gz"))["id"] == ["007", "008"]


def test_separator_and_decimal_point_are_the_mappings(tmp_path: Path) -> None:
    part = EventsMapping(
        file="f",
        separator=";",
        decimal=",",
        user_id="id",
        item_id="id",
        occurred_at="t",
        value="n",
        constants={"event_type": "view"},
    )
    assert csv_of(part) == Csv(";", ",", frozenset({"n"}))
    assert read(written(tmp_path, "id;n\n007;1,5\n"), csv_of(part)) == {"id": ["007"], "n": [1.5]}


def test_a_value_may_hold_separators_quotation_marks_and_ends_of_lines(tmp_path: Path) -> None:
    path = written(tmp_path, 'id,n\n"a, ""b""\nc",1\nd,2\n')
    assert read(path)["id"] == ['a, "b"\nc', "d"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,n\n1,1\n2\n3,3\n", "line 3 has 1 values, and the first line names 2 columns"),
        ("id,n\n1,1\n2,2,2\n", "line 3 has 3 values"),
        (b"id,n\n1,1\n\xff,2\n3,3\n", "column 'id', row 3: a value is not UTF-8"),
        (b"x,n,id\n1,1,1\n1,2,\xff\n", "column 'id', row 3: a value is not UTF-8"),
        ('id,n\n1,1\n"2,2\n3,3\n4,4\n', "line 3: unexpected end of data"),
        ('id,n\n"1,1\n"2,2\n3,3\n', "line 2: "),
        ("id,n\n1,1\n2,two\n", "column 'n', row 3: a value is not a number"),
        ("", "it is empty"),
        ("id,id,n\n1,1,1\n", "its columns 1 and 2 have the same name in the first line"),
        ("id,n\n1,1\n".encode("utf-16"), "its first line, which has to name the columns, is not UTF-8"),
    ],
)
def test_a_mistake_in_the_middle_is_told_with_file_and_line_and_no_row_is_dropped(
    tmp_path: Path, content: str | bytes, told: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TailorbirdError, match=rf"rows.csv cannot be read: .*{told}.*nothing was stored"):
        files.row_count(path, NUMBERS)


def test_the_mistake_is_told_while_rows_are_read_too(tmp_path: Path) -> None:
    path = written(tmp_path, b"id,n\n" + b"1,1\n" * 5000 + b"\xff,2\n")
    with pytest.raises(TailorbirdError, match=r"row 5002: a value is not UTF-8"):
        list(files.chunks(path, ["id", "n"], 1000))


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_compressed_file_that_was_cut_off_is_refused(tmp_path: Path, kept: float) -> None:
    content = gzip.compress(b"id,n\n" + b"".join(b"%d,%d\n" % (i * i, i) for i in range(9999)))
    path = written(tmp_path, content[: int(len(content) * kept)], "rows.csv.gz")
    with pytest.raises(TailorbirdError, match=r"rows.csv.gz cannot be read"):
        files.row_count(path, PLAIN)


def test_bytes_in_columns_that_nobody_reads_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, b"more,id,n\n\xff,1,1\n")
    assert read(path) == {"id": ["1"], "n": [1.0]}


def test_a_file_that_was_written_anew_is_counted_anew(tmp_path: Path) -> None:
    assert files.row_count(written(tmp_path, "id,n\n1,1\n")) == 1
    assert files.row_count(written(tmp_path, "id,n\n1,1\n2,2\n")) == 2


FUZZED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERED = count()
# Each example in a file of its own: two of one size in one tick of the clock look like one file.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@FUZZED
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_every_text_that_can_be_written_is_read_as_it_was(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / f"{next(NUMBERED)}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        standard.writer(file, quoting=standard.QUOTE_ALL).writerows([("id", "n"), *rows])
    assert files.row_count(path) == len(rows)
    read = pa.concat_tables(files.chunks(path, ["id", "n"]))
    assert list(zip(*read.to_pydict().values(), strict=True)) == rows


@FUZZED
@given(
    content=st.lists(
        st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\r\n", b"\xff", b"\0", b" ", b"1"]), max_size=24
    )
)
def test_whatever_a_file_holds_it_is_read_to_the_last_row_or_refused(tmp_path: Path, content: list[bytes]) -> None:
    path = written(tmp_path, b"id,n\n" + b"".join(content), f"{next(NUMBERED)}.csv")
    try:
        rows = files.row_count(path)
    except TailorbirdError:
        return
    assert rows == sum(map(len, files.chunks(path, ["id", "n"])))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_far_too_many_columns_is_refused_before_its_names_are_compared(tmp_path: Path, kind: str) -> None:
    names = [f"c{number}" for number in range(20_000)]
    path = tmp_path / f"wide.{kind}"
    if kind == "csv":
        path.write_text(",".join(names) + "\n")
    else:
        pq.write_table(pa.table({name: pa.array([1], pa.int8()) for name in names}), path)
    with pytest.raises(TailorbirdError, match=r"20,000 columns, and a table has 10,000 at most") as refusal:
        files.column_kinds(path)
    assert len(str(refusal.value)) < 500
