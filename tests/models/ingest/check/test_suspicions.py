"""Guesses about rows that can be read and still look wrong."""

import tomllib
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.check import suspicions
from models.ingest.check.suspicions import unread_consent, unread_stock, user_ids_of_several_spellings
from models.ingest.tabular import mapping_keys
from models.ingest.tabular.mapping_keys import parse
from models.ingest.tabular.table_mapping import UsersMapping


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
