"""Items that are no goods are found, and a file with wrong prices is named."""

import tomllib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.ingest.check.non_goods import mark_for, odd_batch, suspects, too_many
from models.ingest.tabular.table_mapping import ItemsMapping
from models.primitives.json_types import JsonObject

GOODS = [
    {"item_id": f"2{n:04}", "title": f"PAPER LANTERN {n}", "price": 2.5, "bought": 9, "kept": True} for n in range(60)
]


def result(*more: JsonObject) -> dict[str, str]:
    rows = [{"lowest": 2.0, "highest": 3.0} | row for row in [*GOODS, *more]]
    kinds = dict.fromkeys(("price", "lowest", "highest"), pa.float64())
    table = pa.table({name: pa.array([row[name] for row in rows], kinds.get(name)) for name in rows[0]})
    return {row["item_id"]: row["why"] for row in suspects(table)}


def item(item_id: str, title: str, **values: Any) -> JsonObject:
    return {"item_id": item_id, "title": title, "price": 1.0, "bought": 9, "kept": True} | values


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (item("M", "Lantern"), "its id has no digit, but 98.4 % of ids have one"),
        (item("C2", "CARRIAGE"), "its title has the word carriage"),
        (item("100", "Dotcomgiftshop Gift Voucher £20.00"), "its title has the word gift voucher"),
        (item("102", "??"), "its title has no letters"),
        (item("103", "Lantern", price=0.0), "its price is 0"),
        (
            item("104", "Lantern", bought=99, lowest=0.01, highest=38_970.0),
            "most people pay from 0.01 to 38970.00 for one",
        ),
        (item("112", "wrongly marked."), "its title has the word wrongly"),
        (item("114", "  ?? missing"), "its title has the word missing"),
        (item("123", "Bearbeitungsgebühr Karte"), "its title has the word bearbeitungsgebühr"),
        (item("125", "Bon d'achat 20"), "its title has the word bon d'achat"),
        (item("105", "Lantern", kept=False), "none of its 9 purchases was kept"),
    ],
)
def test_an_item_that_looks_like_no_goods_is_a_suspect_with_the_reason(row: JsonObject, why: str) -> None:
    assert result(row) == {row["item_id"]: why}


@pytest.mark.parametrize(
    "row",
    [
        item("106", "COFFEE LOVERS"),
        item("119", ""),
        item("107", "Feel good cushion"),
        item("108", "Лампа"),
        item("109", "Lantern", kept=False, bought=1),
        item("115", "Toilet bowl manual, 24 oz"),
        item("116", "Pregnancy test kits"),
        item("117", "Fromage frais"),
        item("118", "Lantern", bought=9, lowest=0.01, highest=9.0),
        item("110", "Lantern", price=None, lowest=None, highest=None),
    ],
)
def test_goods_are_no_suspects(row: JsonObject) -> None:
    assert result(row) == {}


def test_ids_without_digits_are_usual_where_many_have_none() -> None:
    assert result(*(item(f"lamp-{chr(97 + n)}", "Lantern") for n in range(20))) == {}


def test_the_clearest_suspects_come_first() -> None:
    rows = [item("102", "?"), item("POST", "POSTAGE"), item("103", "Lantern", price=0.0, bought=99)]
    assert list(result(*rows)) == ["POST", "103", "102"]


MAPPING = {"file": "f", "item_id": "StockCode", "title": "t"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "not_merchandise = \"StockCode in ('POST', 'it''s')\""),
        ({"item_id": "Stock Code"}, "not_merchandise = \"\\\"Stock Code\\\" in ('POST', 'it''s')\""),
        ({"item_id": {"expr": "upper(code)"}}, "not_merchandise = \"(upper(code)) in ('POST', 'it''s')\""),
        (
            {"not_merchandise": ["FUEL", {"expr": "price = 0"}]},
            "not_merchandise = [\"FUEL\", { expr = \"price = 0\" }, { expr = \"StockCode in ('POST', 'it''s')\" }]",
        ),
    ],
)
def test_the_line_of_a_mapping_marks_the_suspects_and_what_it_marked_before(change: JsonObject, line: str) -> None:
    mapping = ItemsMapping.model_validate(MAPPING | change)
    shown = mark_for(["POST", "it's"], mapping)
    assert shown == line
    marked = ItemsMapping.model_validate(MAPPING | change | tomllib.loads(shown))
    assert marked.marks[-1].text.endswith("in ('POST', 'it''s')")


def test_the_line_names_as_many_as_one_expression_can() -> None:
    shown = mark_for([f"{'x' * 200}{n}" for n in range(40)], ItemsMapping.model_validate(MAPPING))
    assert ItemsMapping.model_validate(MAPPING | tomllib.loads(shown)).marks


FILES = {f"b{n}": f"{n}.csv" for n in range(9)}


def prices(*rows: tuple[str, list[float]], currency: str = "CZK") -> pa.Table:
    """Median prices of items, batch by batch."""
    result = [(item, currency, f"b{n}", n, price) for item, each in rows for n, price in enumerate(each)]
    names = ("item_id", "currency", "batch_id", "came", "price")
    return pa.table(dict(zip(names, map(list, zip(*result, strict=True)), strict=True)))


def test_prices_in_another_currency_are_not_compared() -> None:
    goods = [(f"i{n}", [2500.0 + n, 2510.0 + n]) for n in range(5)]
    dear = pa.concat_tables([prices(*goods), prices(*((item, [0.0, 100.0]) for item, _ in goods), currency="EUR")])
    assert odd_batch(dear.filter(pc.greater(dear["price"], 0)), FILES, 5) is None


def test_the_batch_is_named_whose_prices_are_far_from_those_before() -> None:
    goods = [(f"i{n}", [40.0 + n, 41.0 + n, 1.0, 40.0 + n]) for n in range(5)]
    result = odd_batch(prices(*goods), FILES, 6)
    assert result is not None
    assert (result.file, result.items, result.price, result.earlier) == ("2.csv", 5, 1.0, 42.5)
    assert "In 2.csv 5 of them cost 1.00 in the median, and 42.50 in the files before." in str(result)
    assert result.command == "tailorbird ledger undo b2"


@pytest.mark.parametrize(
    ("rows", "suspects"),
    [
        ([(f"i{n}", [40.0, 41.0, 1.0]) for n in range(5)], 11),  # most odd prices have another cause
        ([("POST", [5.0, 900.0])], 1),
        ([(f"i{n}", [5.0, 900.0, 0.01, 80.0, 0.5, 7000.0]) for n in range(5)], 5),  # odd in every file
        ([(f"i{n}", [40.0, 20.0, 30.0]) for n in range(5)], 5),
    ],
)
def test_no_batch_is_named_for_few_items_and_for_prices_that_always_differ(rows: Any, suspects: int) -> None:
    assert odd_batch(prices(*rows), FILES, suspects) is None


@pytest.mark.parametrize(
    ("suspects", "sold", "many"),
    [
        ([9] * 5, 200, True),
        ([9] * 4, 200, False),
        ([9] * 5, 300, False),
        ([0] * 50, 200, False),
        ([1000], 200, True),
        ([1000], 50, False),
    ],
)
def test_suspects_are_too_many_beyond_a_share_of_what_is_bought_or_among_best_sellers(
    suspects: list[int], sold: int, many: bool
) -> None:
    bought = [*suspects, *range(10, 10 + sold - len([count for count in suspects if count])), 0, 0]
    assert too_many([{"bought": count} for count in suspects], pa.table({"bought": bought})) == many
