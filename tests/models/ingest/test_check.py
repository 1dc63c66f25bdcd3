"""What a check of files points out: items that are no goods, wrong prices, and cells that look wrong."""

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from expectations.batches import USER_RULES, event_rules, item_rules
from models import columns
from models.ingest.check import suspicions
from models.ingest.check.advice import CONFLICT, LINE_UNREADABLE, UNREADABLE, advice
from models.ingest.check.file_names import file_name, some_names
from models.ingest.check.non_goods import mark_for, odd_batch, suspects, too_many
from models.ingest.check.suspicions import unread_consent, unread_stock, user_ids_of_several_spellings
from models.ingest.tabular import mapping_keys
from models.ingest.tabular.mapping_keys import parse
from models.ingest.tabular.table_mapping import ItemsMapping, UsersMapping
from models.primitives.json_types import JsonObject

GOODS = [
    {"item_id": f"2{n:04}", "title": f"PAPER LANTERN {n}", "price": 2.5, "bought": 9, "returned": 0} for n in range(60)
]
REQUIRED = (columns.QUANTITY, columns.CURRENCY, columns.PRICE)
RULES = sorted(
    {rule.id for suite in (event_rules(required=REQUIRED), item_rules(REQUIRED), USER_RULES) for rule in suite}
    | {CONFLICT, LINE_UNREADABLE, UNREADABLE}
)


def result(*more: JsonObject) -> dict[str, str]:
    rows = [{"lowest": 2.0, "highest": 3.0} | row for row in [*GOODS, *more]]
    kinds = dict.fromkeys(("price", "lowest", "highest"), pa.float64())
    table = pa.table({name: pa.array([row[name] for row in rows], kinds.get(name)) for name in rows[0]})
    return {row["item_id"]: row["why"] for row in suspects(table)}


def item(item_id: str, title: str, **values: Any) -> JsonObject:
    return {"item_id": item_id, "title": title, "price": 1.0, "bought": 9, "returned": 0} | values


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (item("M", "Lantern"), "its id has no digit, but 98.4 % of ids have one"),
        (item("C2", "CARRIAGE"), "its title has the word carriage"),
        (item("100", "Dotcomgiftshop Gift Voucher £20.00"), "its title has the word gift voucher"),
        (item("103", "Lantern", price=0.0), "its price is 0"),
        (
            item("104", "Lantern", bought=99, lowest=0.01, highest=38_970.0),
            "most people pay from 0.01 to 38970.00 for one",
        ),
        (item("114", "  ?? missing"), "its title has the word missing"),
        (item("105", "Lantern", returned=9), "none of its 9 purchases was kept"),
    ],
)
def test_an_item_that_looks_like_no_goods_is_a_suspect_with_the_reason(row: JsonObject, why: str) -> None:
    assert result(row) == {row["item_id"]: why}


@pytest.mark.parametrize(
    "row",
    [
        item("106", "COFFEE LOVERS"),
        item("119", ""),
        item("108", "Лампа"),
        *(item("109", "Lantern", bought=few, returned=few) for few in (1, 3, 5)),
        item("109", "Lantern", bought=40, returned=39),
        item("118", "Lantern", bought=9, lowest=0.01, highest=9.0),
        item("110", "Lantern", price=None, lowest=None, highest=None),
    ],
)
def test_goods_are_no_suspects(row: JsonObject) -> None:
    assert result(row) == {}


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=30))
def test_refunds_make_a_suspect_if_the_usual_rate_makes_them_unlikely(counts: list[tuple[int, float]]) -> None:
    goods = [(9, 0)] * len(GOODS) + [(bought, round(bought * share)) for bought, share in counts]
    tested = sum(bought >= 6 for bought, _ in goods)
    expected = set()
    for number, (bought, returned) in enumerate(goods[len(GOODS) :]):
        others = [sum(row[at] for row in goods) - (bought, returned)[at] for at in (0, 1)]
        usual = (others[1] + 1) / (others[0] + 2)
        if returned == bought >= 6 and tested * binom.sf(bought - 1, bought, usual) <= 0.05:
            expected.add(f"3{number:04}")
    rows = [
        item(f"3{number:04}", "Lantern", bought=bought, returned=returned)
        for number, (bought, returned) in enumerate(goods[len(GOODS) :])
    ]
    assert set(result(*rows)) == expected


def test_goods_that_are_often_returned_are_no_suspects_and_deposits_are() -> None:
    """A shop of clothes, in which four of ten purchases come back; its deposits always do."""
    random, found = np.random.default_rng(7), []
    for shop in range(40):
        bought = random.integers(1, 30, 400)
        rows = [
            item(f"{shop}-{number}", "Dress", bought=int(count), returned=int(random.binomial(count, 0.4)))
            for number, count in enumerate(bought)
        ]
        found.append(set(result(*rows, item("9", "Dress", bought=30, returned=30))))
    assert all("9" in names for names in found)
    assert sum(len(names) > 1 for names in found) <= 4  # at most 5 % of shops, and chance


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
        ([1000], 200, True),
        ([1000], 50, False),
    ],
)
def test_suspects_are_too_many_beyond_a_share_of_what_is_bought_or_among_best_sellers(
    suspects: list[int], sold: int, many: bool
) -> None:
    bought = [*suspects, *range(10, 10 + sold - len([count for count in suspects if count])), 0, 0]
    assert too_many([{"bought": count} for count in suspects], pa.table({"bought": bought})) == many


def ids(result: Any) -> list[str]:
    return [one.id for one in result]


def dates(*texts: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts)])


def test_dates_without_a_day_above_12_may_be_swapped() -> None:
    cells = dates(*(f"{day:02}/{month:02}/2024" for day in range(1, 13) for month in (1, 2)))
    (guess,) = suspicions.swapped_dates(cells, "%d/%m/%Y")
    assert guess.write == 'time_format = "%m/%d/%Y"'
    assert "none of 24 different dates" in guess.says


def test_dates_that_the_other_order_reads_better_are_swapped() -> None:
    (guess,) = suspicions.swapped_dates(dates("01/31/2024", "02/28/2024", "03/04/2024"), "%d/%m/%Y")
    assert "with day and month swapped 3" in guess.says


def test_dates_with_later_days_and_few_dates_are_no_reason_for_doubt() -> None:
    assert not ids(suspicions.swapped_dates(dates(*(f"{day}/03/2024" for day in range(10, 29))), "%d/%m/%Y"))
    assert not ids(suspicions.swapped_dates(dates("01/02/2024", "03/04/2024"), "%d/%m/%Y"))
    assert not ids(suspicions.swapped_dates(dates("2024-01-02"), "timestamp"))


def test_dates_that_two_formats_of_a_list_read_differently_are_named() -> None:
    cells = dates("13/02/2025", "01/02/2025", "03/03/2025", "02/28/2025")
    (guess,) = suspicions.ambiguous_times(cells, ["%d/%m/%Y", "%m/%d/%Y"])
    assert "%d/%m/%Y and %m/%d/%Y both read 1 cells, such as '01/02/2025', and as different times" in guess.says
    assert not ids(suspicions.ambiguous_times(cells, ["%d/%m/%Y"]))
    assert not ids(suspicions.ambiguous_times(cells, ["%d/%m/%Y", "timestamp"]))


@pytest.mark.parametrize(
    ("theirs", "ours", "how"),
    [("a7 ", "A7", "case and space"), ("7.0", "7", "a .0 at the end"), ("007", "7", "zeros at the beginning")],
)
def test_unknown_items_are_compared_without_regard_to_their_spelling(theirs: str, ours: str, how: str) -> None:
    (guess,) = suspicions.unknown_items(pa.table({"item_id": [theirs]}), pa.array([ours]))
    assert f"1 of them are in it without regard to {how}" in guess.says


@pytest.mark.parametrize(
    ("theirs", "ours", "cure"),
    [
        (["a7 ", "B8"], ["A7", "B8"], 'upper(trim("Item No"))'),
        (["A7", "b8"], ["a7", "b8"], 'lower(trim("Item No"))'),
        (["a7 ", "B8"], ["a7", "B8"], 'trim("Item No")'),
        (["7.0"], ["7"], "regexp_replace(trim(\"Item No\"), '[.]0$', '')"),
        (["007"], ["7"], "regexp_replace(trim(\"Item No\"), '^0+', '')"),
    ],
)
def test_the_spelling_of_the_catalogue_is_offered_for_all_keys_with_the_item(
    theirs: list[str], ours: list[str], cure: str
) -> None:
    event = ["Order", "Item No", mapping_keys.parse("number(Qty)", "text", "")]

    (guess,) = suspicions.unknown_items(pa.table({"item_id": theirs}), pa.array(ours), "Item No", event)

    written = tomllib.loads(guess.write)
    assert written == {"item_id": {"expr": cure}, "event_id": ["Order", {"expr": cure}, {"expr": "number(Qty)"}]}
    assert mapping_keys.parse(cure, "text", "").columns == ("Item No",)


@pytest.mark.parametrize(
    ("prices", "result"),
    [
        ([999.0, 1299.0, 450.0, 1995.0, 2099.0], True),
        ([9.99, 12.99, 4.5, 19.95, 20.0], False),
        ([9.0, 12.0, 4.0, 19.0, 20.0, 7.0], False),
    ],
)
def test_whole_prices_that_end_as_cents_do_are_pointed_out(prices: list[float], result: bool) -> None:
    assert ids(suspicions.prices_in_cents(pa.array(prices))) == ["prices_in_cents"] * result


@pytest.mark.parametrize("whole", [True, False])
def test_a_value_that_does_not_grow_with_the_quantity_is_pointed_out(whole: bool) -> None:
    rows = [(f"i{n}", float(pieces), 2.5 * (pieces if whole else 1)) for n in range(9) for pieces in (1, 2, 3)]
    items, quantities, values = (list(one) for one in zip(*rows, strict=True))
    events = pa.table({"item_id": items, "quantity": quantities, "value": values})
    assert ids(suspicions.unit_prices_as_values(events)) == ["value_is_a_unit_price"] * (not whole)


@pytest.mark.parametrize(
    ("other", "difference", "expression"),
    [
        (" ann@shop.example", "only in spaces around them", 'trim("E-Mail")'),
        ("Ann@Shop.example ", "only in case or spaces", 'lower(trim("E-Mail"))'),
    ],
)
def test_user_ids_that_differ_only_in_their_spelling_are_counted(other: str, difference: str, expression: str) -> None:
    ids = pa.chunked_array([["ann@shop.example", "bob@shop.example"], [other, None, other]])
    (guess,) = user_ids_of_several_spellings(ids, ["E-Mail"])
    assert guess.says.startswith(f"1 of 3 user ids differ from another one {difference}, and count as other users.")
    assert guess.write == f"user_id = {{ expr = '{expression}' }}"


def test_ids_of_a_few_users_that_differ_in_case_may_be_a_coincidence() -> None:
    ids = pa.chunked_array([[f"user {number}" for number in range(2000)], ["User 7"]])
    assert not list(user_ids_of_several_spellings(ids, ["id"]))
    assert list(user_ids_of_several_spellings(pa.chunked_array([["user 7", "User 7"]]), ["id"]))


def test_each_column_of_a_user_id_is_written_alike() -> None:
    (guess,) = user_ids_of_several_spellings(pa.chunked_array([["a", "a "]]), ["id", parse("lower(mail)", "text")])
    assert guess.write == 'user_id = [{ expr = "trim(id)" }, { expr = "trim(lower(mail))" }]'


USUAL = UsersMapping.model_fields["consent_words"].default


def test_words_of_stock_come_with_what_they_probably_mean_beside_those_that_are_stated() -> None:
    [guess] = unread_stock("Stan", {"Brak": 27, "dostępny": 3, "xyz": 1, "w 5 dni": 1}, {"lieferbar": True})

    assert "32 answers of 'Stan' (available)" in guess.says
    assert tomllib.loads(guess.write) == {
        "available_words": {"lieferbar": True, "brak": False, "dostępny": True, "w 5 dni": True}
    }
    assert guess.write.endswith('# to decide, in stock until then: "xyz"')


def test_a_word_that_may_mean_yes_comes_with_the_key_for_it() -> None:
    [guess] = unread_consent("Newsletter", pa.array(["tak", "nie", "Tak ", None, ""]), USUAL)

    assert "'tak' (2)" in guess.says
    assert "nie" not in guess.says
    assert guess.write == 'consent_words = ["tak"]'


def test_plain_answers_and_columns_of_many_words_are_no_reason_to_look() -> None:
    assert not list(unread_consent("ok", pa.array(["yes", "no", "0"]), USUAL))
    assert not list(unread_consent("ok", pa.array([f"u{n}" for n in range(50)]), USUAL))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_that_puts_rows_into_quarantine_has_a_way_out(rule: str) -> None:
    sentence = advice(rule)
    assert sentence.endswith(".")
    assert re.search("ingest|replay|[Dd]ismiss", sentence)


def test_the_page_on_ingestion_has_a_way_out_for_every_rule() -> None:
    page = (Path(__file__).parents[3] / "docs" / "ingestion.md").read_text()
    lines = page.partition("| rule |")[2].partition("\n\n")[0].splitlines()[2:]
    assert lines
    for line in lines:
        helps = line.rsplit(" | ", 1)[-1]
        assert re.search("ingest|replay|[Dd]ismiss|look at", helps), line


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/data/shop/orders.csv", "orders.csv"),
        ("/data/orders?.csv", "orders?.csv"),
        ("s3://bucket/month/orders.csv", "orders.csv"),
        ("s3://ann:secret@bucket/orders.csv?token=secret/of/ann", "orders.csv"),
        ("s3://ann:secret@bucket", ""),
    ],
)
def test_a_file_is_named_without_its_folder_and_without_a_password(location: str, name: str) -> None:
    assert file_name(location) == name


def test_at_most_three_files_are_named() -> None:
    assert some_names(["/x/a", "/x/b", "/x/c"]) == "a, b, c"
    assert some_names([f"/x/{n}" for n in range(17)]) == "0, 1, 2 and 14 more"
