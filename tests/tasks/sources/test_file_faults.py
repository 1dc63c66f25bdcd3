"""A file that is no table is reported with its kind and advice."""

import gzip
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import TailorbirdError
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping
from tasks.sources.file_faults import binary_kind
from tasks.sources.locations import TABLES, find

MAPPING = """
consent = "given"
consent_note = "terms"

[items]
file = ["items.csv", "items.parquet"]
item_id = "sku"
title = "name"
"""


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "sku,name\n1,Cup\n")


def make(path: Path, kind: str) -> None:
    """Write a file of a kind, whatever it is called."""
    if kind == "workbook":
        zipped(path, "[Content_Types].xml", "xl/workbook.xml")
    elif kind == "zip":
        zipped(path, "items.csv")
    elif kind == "parquet":
        pq.write_table(pa.table({"sku": ["1"], "name": ["Cup"]}), path)
    else:
        beginnings = {"image": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-1.4\n", "xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}
        path.write_bytes(beginnings.get(kind, b"") + bytes(range(256)) * 20)


KINDS = {
    "workbook": ("a spreadsheet", "to CSV"),
    "xls": ("an old Office file", "to CSV"),
    "zip": ("an archive", "Unpack it"),
    "image": ("an image", "CSV or Parquet"),
    "pdf": ("a PDF", "CSV or Parquet"),
    "bytes": ("no text and no table", "CSV or Parquet"),
    "parquet": ("a Parquet file", "end with .parquet"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_csv_file_that_is_none_is_named_with_what_to_do(kind: str, tmp_path: Path) -> None:
    make(tmp_path / "items.csv", kind)
    (tmp_path / "shop.toml").write_text(MAPPING)
    [table] = check_mapping(str(tmp_path / "shop.toml"), [str(tmp_path / "items.csv")])["tables"]
    with pytest.raises(TailorbirdError) as refused:
        draft_mapping([str(tmp_path / "items.csv")], "shop")

    for sentence in (table["refused"], str(refused.value)):
        assert all(words in sentence for words in (*KINDS[kind], "no CSV file", "Nothing was stored."))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "parquet"])
@pytest.mark.parametrize("name", ["items.parquet", "items.xlsx"])
def test_a_file_that_is_no_parquet_is_named_with_what_to_do(kind: str, name: str, tmp_path: Path) -> None:
    make(tmp_path / name, kind)
    (tmp_path / "shop.toml").write_text(MAPPING)
    try:
        result = check_mapping(str(tmp_path / "shop.toml"), [str(tmp_path / name)])["tables"][0]["refused"]
    except TailorbirdError as error:
        result = str(error)
    assert all(words in result for words in KINDS[kind])


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("items.dat", "sku,name\n1,Cup\n", r"it is a text, and no Parquet file\. Let its name end with \.csv"),
        ("reviews.dat", '{"asin": "B1"}\n', r"it is JSON, and no Parquet file\. Let its name end with \.json"),
    ],
)
def test_a_text_with_another_ending_is_named_with_what_to_do(
    name: str, content: str, advice: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TailorbirdError, match=advice):
        draft_mapping([str(tmp_path / name)], "shop")


@pytest.mark.parametrize("name", ["tuotteet.txt", "tuotteet.TSV", "tuotteet.tab", "tuotteet.txt.gz"])
def test_texts_of_other_endings_are_read_as_csv(name: str, tmp_path: Path) -> None:
    content = ("sku\tname\n" + "".join(f"{n}\tKuppi {n}\n" for n in range(30))).encode("utf-16")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    text = draft_mapping([str(tmp_path / name)], "kauppa").text
    (tmp_path / "kauppa.toml").write_text(text)
    [table] = check_mapping(str(tmp_path / "kauppa.toml"), [str(tmp_path / name)])["tables"]

    assert (table["refused"], table["counts"]["routed"]) == (None, 30)


def test_a_folder_gives_its_tables_with_tabs_and_no_notes(tmp_path: Path) -> None:
    for name in ("a.tsv", "b.tab", "c.csv", "README.txt"):
        (tmp_path / name).write_text("sku\n1\n")
    assert [Path(file).name for file in find([str(tmp_path)], TABLES)] == ["a.tsv", "b.tab", "c.csv"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252", "cp1251", "shift_jis", "gb18030"])
def test_texts_in_any_encoding_are_no_binary_files(encoding: str, tmp_path: Path) -> None:
    words = {"cp1251": "Чашка", "shift_jis": "茶碗", "gb18030": "茶碗", "utf-16": "茶碗 Ø"}.get(encoding, "Café")
    (tmp_path / "items.csv").write_bytes(f"sku,name\n1,{words}\n".encode(encoding) * 50)
    assert binary_kind(tmp_path / "items.csv") is None
