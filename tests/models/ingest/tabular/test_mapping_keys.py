from typing import Any

import pyarrow as pa
import pytest

from models.ingest.tabular.mapping_keys import LONGEST, Kind, parse
from models.ingest.tabular.numbers import NumberForm
from models.ingest.tabular.values import matching, value_of

ROWS = pa.table(
    {
        "InvoiceNo": ["536365", "C536379", None],
        "Quantity": ["6", "-1", "many"],
        "UnitPrice": [2.5, 27.5, float("nan")],
        "CustomerID": [17850.0, 14527.0, None],
        "Stock Code": [" 85123A ", "D", ""],
        "order": [1, 2, 3],
    }
)


def values(text: str, kind: Kind = "text", rows: pa.Table = ROWS, decimal: str = ".") -> list[Any]:
    result: list[Any] = value_of(rows, parse(text, kind), NumberForm(decimal)).to_pylist()
    return result


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (
            "case when starts_with(InvoiceNo, 'C') then 'refund' when InvoiceNo is not null then 'purchase' end",
            "text",
            ["purchase", "refund", None],
        ),
        ("if(Quantity < 0, 'refund', 'purchase')", "text", ["purchase", "refund", "purchase"]),
        ("Quantity * UnitPrice", "number", [15.0, -27.5, None]),
        ("abs(Quantity)", "number", [6.0, 1.0, None]),
        ("-Quantity + 2 * (1 - 0.5)", "number", [-5.0, 2.0, None]),
        ("UnitPrice / (Quantity - 6)", "number", [None, 27.5 / -7, None]),
        ("round(UnitPrice / 3, 2)", "number", [0.83, 9.17, None]),
        ("CustomerID", "text", ["17850", "14527", None]),
        ("text(UnitPrice * 2)", "text", ["5", "55", None]),
        ('trim("Stock Code")', "text", ["85123A", "D", None]),
        ("lower(InvoiceNo) || '-' || \"order\"", "text", ["536365-1", "c536379-2", None]),
        ("regexp_extract(InvoiceNo, '[0-9]+')", "text", ["536365", "536379", None]),
        ("regexp_replace(InvoiceNo, '^C', '')", "text", ["536365", "536379", None]),
        ("substr(InvoiceNo, 1, 3)", "text", ["536", "C53", None]),
        ("coalesce(InvoiceNo, 'none')", "text", ["536365", "C536379", "none"]),
        ("nullif(trim(\"Stock Code\"), 'D')", "text", ["85123A", None, None]),
        ("matches(\"Stock Code\", '[0-9]{5}')", "condition", [True, False, None]),
        ("Quantity > 0 and UnitPrice > 0", "condition", [True, False, None]),
        ("not contains(InvoiceNo, '379') or InvoiceNo is null", "condition", [True, False, True]),
        ('"order" in (1, 3)', "condition", [True, False, True]),
        ("InvoiceNo not in ('536365')", "condition", [False, True, None]),
        ("UnitPrice between 2 and 3", "condition", [True, False, None]),
        ("Quantity = 6", "condition", [True, False, None]),
    ],
)
def test_an_expression_is_computed_for_each_row(text: str, kind: Kind, expected: list[Any]) -> None:
    result = values(text, kind)
    assert result == (pytest.approx(expected) if kind == "number" else expected)


@pytest.mark.parametrize("written", ["abc", "1_0", "1e999", "nan", "inf", "", "1.5.2"])
def test_a_text_that_is_no_number_is_null(written: str) -> None:
    assert values("number(n) * 2", "number", pa.table({"n": [written, " 4 "]})) == [None, 8.0]


def test_numbers_are_read_with_the_decimal_sign_of_the_file() -> None:
    rows = pa.table({"price": ["1,5", "2"]})
    assert values("price * 2", "number", rows, decimal=",") == [3.0, 4.0]
    assert values("price * 2", "number", rows) == [None, 4.0]


def test_a_value_does_not_depend_on_how_the_file_stores_its_column() -> None:
    stored = [pa.array(["1", "2"]), pa.array([1, 2]), pa.array([1.0, 2.0]), pa.array(["1", "2"]).dictionary_encode()]
    assert {tuple(values("if(a >= 2, 'two', a)", rows=pa.table({"a": a}))) for a in stored} == {("1", "two")}


def test_a_condition_that_is_unknown_does_not_hold() -> None:
    assert matching(ROWS, parse("Quantity > 0", "condition")).to_pylist() == [True, False, False]
    assert matching(ROWS, None).to_pylist() == [True, True, True]


def test_texts_that_grow_are_cut() -> None:
    grown = "a"
    for _ in range(8):
        grown = f"replace({grown}, 'x', 'xxxxxxxxxxxxxxxxxxxx')"
    assert [len(value) for value in values(grown, rows=pa.table({"a": ["x"]}))] == [4_000]


@pytest.mark.parametrize(
    ("text", "kind", "fault"),
    [
        ("", "text", "an expression is empty"),
        ("order", "text", 'such as "order" in double quotes'),
        ("a, b", "text", "more than one expression"),
        ("a from events", "text", "more than one expression"),
        ("a; drop table events", "text", "more than one statement|cannot be read"),
        ("a) from (select 1", "text", "cannot be read|more than one"),
        ("(select 1)", "text", "no SUBQUERY"),
        ("exists(select 1)", "condition", "no SUBQUERY"),
        ("a::int", "number", r"no CAST; write number\(…\) or text\(…\)"),
        ("a.b", "text", "a column with a dot in double quotes"),
        ("sum(a) over ()", "number", "no WINDOW"),
        ("sum(a)", "number", "there is no function sum in an expression; use abs, .*trim, upper"),
        ("read_text('/etc/passwd')", "text", "there is no function read_text"),
        ("getenv('HOME')", "text", "there is no function getenv"),
        ("current_setting('threads')", "text", "there is no function current_setting"),
        ("main.lower(a)", "text", "write lower\\(…\\) with plain arguments"),
        ("a like 'C%'", "condition", "use starts_with, ends_with, contains or matches"),
        ("a is distinct from b", "condition", "no comparison COMPARE_DISTINCT_FROM"),
        ("lower(a, b)", "text", "lower takes 1 arguments, and 2 are given"),
        ("matches(a, '(')", "condition", "the regular expression '\\(' cannot be used"),
        ("matches(a, '(a{1000}){1000}')", "condition", "cannot be used"),
        ("matches(a, b)", "condition", "matches needs a text that is written out"),
        ("substr(a, b, 1)", "text", "substr needs a whole number that is written out"),
        ("a = ''", "condition", "write `is null`"),
        ("a", "condition", "write a comparison"),
        ("'x'", "number", "write number"),
        ("9" * 400, "number", "cannot be used as a number"),
        ("+".join("a" * 900), "number", "nested too deeply"),
        ("a" * (LONGEST + 1), "text", "2,000 characters at most"),
        (5, "text", "write it in quotes"),
    ],
)  # fmt: skip
def test_an_invalid_expression_is_refused_with_what_to_do(text: Any, kind: Kind, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse(text, kind)
