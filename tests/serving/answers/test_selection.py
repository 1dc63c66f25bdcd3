import gc

import numpy as np
import orjson
import pytest

from serving.answers.answer import Answer, Entry, Listing
from serving.answers.request import Filters
from serving.answers.selection import Selection, page
from serving.stores.catalogue import Catalogue, Item
from serving.stores.lists import NOBODY, Standing


def item(name: str, **values: object) -> Item:
    known = Item(name, f"Title {name}", None, None, 2.0, "EUR", "FOOD|TEA", "Acme", True, True, -np.inf, np.inf)
    return known._replace(**values)


ITEMS = {
    one.item_id: one
    for one in (
        item("tea"),
        item("milk", category="FOOD|DAIRY", brand="Moo", price=1.0),
        item("gone", in_stock=False),
        item("fee", merchandise=False),
        item("later", available_from=200.0),
        item("over", available_until=100.0),
        item("unpriced", price=None, category="FOODS"),
    )
}
CATALOGUE = Catalogue.of(ITEMS, 100.0)
EVERYTHING = Listing(tuple(Entry(name, 1.0, "why") for name in [*ITEMS, "unknown"]))


def names(standing: Standing, filters: Filters, *others: tuple[str, ...]) -> list[str]:
    shown = Selection.of(standing, filters, *others).visible(EVERYTHING, CATALOGUE, 20)
    return [entry.item_id for entry, _ in shown]


def test_only_what_can_be_bought_now_is_shown() -> None:
    assert names(NOBODY, Filters()) == ["tea", "milk", "unpriced"]


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        ("item:tea", ["milk", "unpriced"]),
        ("brand:Moo", ["tea", "unpriced"]),
        ("category:FOOD", ["unpriced"]),
        ("category:FOOD|TEA", ["milk", "unpriced"]),
    ],
)
def test_exclusions_of_a_user_hide_items(excluded: str, left: list[str]) -> None:
    assert names(Standing(True, True, (excluded,)), Filters()) == left


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (Filters(categories=("FOOD",)), ["tea", "milk"]),
        (Filters(brands=("Moo",)), ["milk"]),
        (Filters(lowest_price=1.5), ["tea"]),
        (Filters(highest_price=1.5), ["milk"]),
        (Filters(exclude=("tea",)), ["milk", "unpriced"]),
        (Filters(categories=("FOODS",), highest_price=9.0), []),
    ],
)
def test_filters_narrow_a_list(filters: Filters, left: list[str]) -> None:
    assert names(NOBODY, filters) == left


def test_items_of_the_context_are_left_out() -> None:
    assert names(NOBODY, Filters(), ("tea",), ("milk",)) == ["unpriced"]


def test_a_catalogue_follows_the_dates_of_its_items() -> None:
    assert CATALOGUE.at(150.0) is CATALOGUE
    later = CATALOGUE.at(200.0)
    assert "later" in later.sold
    assert later.generation > CATALOGUE.generation
    assert "over" in CATALOGUE.at(99.0).sold


def test_a_page_has_ranks_and_titles_and_its_items_as_json() -> None:
    shown = Selection.of(NOBODY, Filters()).visible(EVERYTHING, CATALOGUE, 3)
    answer = page(shown[1:], 1, EVERYTHING, "table", "home", CATALOGUE, degraded=False, personal=True)
    assert [(one.rank, one.item_id, one.title) for one in answer.items] == [
        (2, "milk", "Title milk"),
        (3, "unpriced", "Title unpriced"),
    ]
    assert orjson.loads(answer.items_json) == [one._asdict() for one in answer.items]
    assert answer.item_ids == ("milk", "unpriced")


def test_garbage_collections_look_at_no_item_of_an_answer_in_memory() -> None:
    shown = Selection.of(NOBODY, Filters()).visible(EVERYTHING, CATALOGUE, 3)
    answer = page(shown, 0, EVERYTHING, "table", "home", CATALOGUE, degraded=False, personal=True)
    gc.collect()
    assert [one for one in gc.get_referents(answer) if gc.is_tracked(one)] == [Answer]


def test_attributes_follow_the_order_of_a_model() -> None:
    attributes = CATALOGUE.attributes(np.array(["absent", "gone", "milk", "tea", "unpriced"]))
    assert attributes.available.tolist() == [False, False, True, True, True]
    assert attributes.category.tolist() == ["", "FOOD|TEA", "FOOD|DAIRY", "FOOD|TEA", "FOODS"]
    assert np.isnan(attributes.price).tolist() == [True, False, False, False, True]
    empty = Catalogue.of({}, 0.0).attributes(np.array(["absent"]))
    assert not empty.available.any()
