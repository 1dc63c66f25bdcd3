import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import TailorbirdError
from tasks.sources import table_files
from tasks.sources.csv_reader import Csv

PRODUCTS: list[dict[str, Any]] = [
    {
        "handle": "hat",
        "price": 10.50,
        "tags": ["red", "blue"],
        "image": {"src": "https://cdn.test/a.jpg"},
        "images": [{"src": "https://cdn.test/b.jpg"}, {"src": "https://cdn.test/c.jpg"}],
        "variants": [{"sku": "H1", "stock": {"main": 3}}, {"sku": "H2", "ok": True}],
    },
    {"handle": "cap", "price": 7, "tags": [], "image": None, "variants": []},
]


def rows(path: Path, unnest: str | None = None) -> list[dict[str, Any]]:
    csv = Csv(unnest=unnest)
    names = list(table_files.column_kinds(path, csv))
    read: list[dict[str, Any]] = []
    for chunk in table_files.chunks(path, names, 1, csv):
        read += chunk.rows.to_pylist()
    assert len(read) == table_files.row_count(path, csv)
    return [{name: value for name, value in row.items() if value is not None} for row in read]


@pytest.mark.parametrize("form", ["list", "around", "lines", "gzip"])
def test_products_are_rows_in_every_form_of_the_file(tmp_path: Path, form: str) -> None:
    texts = {"list": json.dumps(PRODUCTS), "around": json.dumps({"products": PRODUCTS}, indent=1)}
    text = texts.get(form, "\n".join(map(json.dumps, PRODUCTS)))
    path = tmp_path / ("p.json.gz" if form == "gzip" else "p.json")
    path.write_bytes(gzip.compress(text.encode()) if form == "gzip" else text.encode())
    hat = {"handle": "hat", "price": "10.5", "tags": "red, blue", "image.src": "https://cdn.test/a.jpg"}
    hat["images.src"] = "https://cdn.test/b.jpg"
    assert rows(path, "variants") == [
        {**hat, "variants.sku": "H1", "variants.stock.main": "3"},
        {**hat, "variants.sku": "H2", "variants.ok": "true"},
        {"handle": "cap", "price": "7"},
    ]
    assert [row["handle"] for row in rows(path)] == ["hat", "cap"], "without unnest an object is a row"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"a": 1}\n{"a": \n{"a": 2', "line 2: Expecting value"),
        ('[{"a": 1}', "line 1: Expecting ',' delimiter"),
        ("[1, 2]", "a list of objects is expected, or an object on each line"),
        ("[" * 100_000, "its values are nested too deeply"),
        ("", "line 1: Expecting value"),
        ('[{"a": "\\ud800"}]', "it is not UTF-8"),
        (json.dumps({f"c{n}": 1 for n in range(10_001)}), "it has 10,001 columns"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(TailorbirdError, match=fault):
        table_files.column_kinds(path)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_a_line_that_is_no_object_is_a_misfit_among_lines_that_are(tmp_path: Path, size: int) -> None:
    lines = ['{"a": 1}', '{"a": ', '{"a": 2}', "7", '{"a": 3}', '{"a": 4}', "\x00{"]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(lines))
    chunks = list(table_files.chunks(path, ["a"], size))
    assert [row for chunk in chunks for row in chunk.rows["a"].to_pylist()] == ["1", "2", "3", "4"]
    assert [number for chunk in chunks for number in chunk.numbers] == [0, 2, 4, 5]
    misfits = [(line.number, line.text) for chunk in chunks for line in chunk.misfits]
    assert misfits == [(number, lines[number]) for number in (1, 3, 6)]
    assert table_files.row_count(path, Csv(), tolerated=0.5) == 4
    with pytest.raises(TailorbirdError, match="3 lines are no objects: line 2: Expecting value"):
        table_files.row_count(path, Csv(), tolerated=0.4)


def test_a_file_of_damaged_bytes_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(PRODUCTS).encode())
    for name, content in {"cut.json.gz": packed[:-9], "odd.json.gz": b"{}", "latin.json": b'[{"a": "\xe4"}]'}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TailorbirdError, match="cannot be read as JSON"):
            table_files.row_count(tmp_path / name)
