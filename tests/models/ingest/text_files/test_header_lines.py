"""A title above the header is found by how few values it has."""

import pytest

from models.ingest.text_files.header_lines import lines_above_header

ROWS = "sku;title;price;stock\n1;Tea;2,50;3\n2;Ice;1,50;4\n"


@pytest.mark.parametrize(
    ("above", "lines"),
    [
        ("", 0),
        ("Shop Ltd - products\n", 1),
        ("Shop Ltd - products;;\r\n\r\n", 2),
        ("Shop Ltd;;;\n", 1),
        ('"Shop\nLtd"\nof today\n', 3),
    ],
)
def test_lines_of_a_title_are_counted_as_an_editor_shows_them(above: str, lines: int) -> None:
    assert lines_above_header((above + ROWS).splitlines(keepends=True), ";") == lines


@pytest.mark.parametrize("text", ["a;b;c\n1;2;3;4\n5;6;7;8\n", "", "one\ntwo\n", 'a;b\n"1;2\n'])
def test_a_header_that_does_not_fit_its_lines_is_no_title(text: str) -> None:
    assert lines_above_header(text.splitlines(keepends=True), ";") == 0
