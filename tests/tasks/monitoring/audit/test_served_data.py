"""Tests the data of an audit, from events of June 2024: `at(n)` is ten o'clock on its n-th day."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from infra.database.schema.schema import items
from infra.installation import Installation
from infra.keys.identity import pseudonym
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.monitoring.audit.served_data import NoAuditDataError, read_audit_window
from tests.published import published, put_back, shelf
from tests.tasks.ingest.events.test_ingest_segment import bought, call, on, viewed, write
from tests.tasks.monitoring.test_realised_accuracy import at

NAMES = ("ann", "bob", "cleo")


@pytest.fixture
def store(installation: Installation, tmp_path: Path) -> Installation:
    """Ann and bob buy cups and pans before the tenth, cleo none; ann buys a pot, a kitchen item, after it."""
    pot = {"product_id": "pot", "name": "Pot", "category": "Kitchen|Pots", "price": 3.5, "quantity": 1}
    calls = [
        bought(1, "a1", "cup", "pan", **on(2)),
        bought(2, "b1", "cup", userId="bob", **on(3)),
        bought(3, "b2", "jug", userId="bob", **on(4)),
        call(4, event="Order Cancelled", userId="bob", properties={"order_id": "b2"}, **on(5)),
        viewed(5, "tin", userId="cleo", **on(6)),
        call(6, event="Order Completed", properties={"order_id": "a2", "products": [pot]}, **on(11)),
        viewed(7, "cup", userId="cleo", **on(12)),
    ]
    ingest_segment.fn("segment", write(tmp_path / "a", *calls))
    return installation


def show(store: Installation, since: float, *goods: str, **about: Any) -> None:
    answer = [(item, 1.0, "why") for item in goods]
    lists = {pseudonym(name, store.key): answer for name in NAMES}
    published(store.engine, lists, shelf(k=len(goods), **about))
    put_back(store.engine, since)


def by_item(store: Installation, pairs: Any) -> dict[str, list[float]]:
    order = sorted(NAMES, key=lambda name: pseudonym(name, store.key))
    return {name: pairs.toarray()[order.index(name)].tolist() for name in NAMES}


def test_lists_are_held_against_what_was_bought_before_and_while_they_were_shown(store: Installation) -> None:
    show(store, at(10), "cup", "pot", version=4)
    window = read_audit_window(store, "home", 28)
    goods = window.data.items  # cup, jug, pan, pot, tin
    assert goods.buyers.tolist() == [2, 0, 1, 0, 0]
    assert goods.purchases.tolist() == [2, 0, 1, 0, 0]
    assert goods.category.tolist() == ["", "", "", "Kitchen", ""]
    assert by_item(store, window.data.shown)["bob"] == [0.5, 0, 0, 0.5, 0]
    had = {"ann": [1, 0, 1, 0, 0], "bob": [1, 0, 0, 0, 0], "cleo": [0] * 5}
    assert by_item(store, window.data.bought) == had
    assert window.data.outcome is not None
    assert (window.data.outcome.hits.sum(), window.data.outcome.targets.sum()) == (1, 1)
    assert window.versions == [4]
    assert window.end == at(12)
    assert window.end - window.start == 28 * 86_400


def test_a_list_counts_for_as_long_as_it_was_shown(store: Installation) -> None:
    show(store, at(8), "cup", run="one", version=4)
    show(store, at(11), "pan", run="two", version=5)
    window = read_audit_window(store, "home", 28)
    assert by_item(store, window.data.shown)["ann"] == [0.75, 0, 0.25, 0, 0]
    assert window.versions == [4, 5]


def test_an_item_that_is_not_sold_any_more_is_audited_only_where_it_was_shown(store: Installation) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(items).where(items.c.item_id.in_(["pan", "tin"])).values(available=False))
    show(store, at(10), "cup", "tin")
    assert len(read_audit_window(store, "home", 28).data.items.buyers) == 4


def test_lists_that_came_after_all_events_have_no_outcome_and_are_looked_at_all_the_same(store: Installation) -> None:
    published(store.engine, {pseudonym("ann", store.key): [("cup", 1.0, "why")]})
    window = read_audit_window(store, "home", 28)
    assert window.data.outcome is None
    assert window.data.items.buyers.sum() == 4  # with the pot: all that was ever bought was before
    assert window.data.users == 1


def test_an_audit_without_shown_lists_names_the_reason(store: Installation) -> None:
    with pytest.raises(NoAuditDataError, match=r"No lists of 'home' were shown in the last 28 days|Next: `tailorbird"):
        read_audit_window(store, "home", 28)


def test_an_audit_without_purchases_names_the_reason(installation: Installation, tmp_path: Path) -> None:
    ingest_segment.fn("segment", write(tmp_path / "a", viewed(1, "cup", **on(2)), viewed(2, "pan", **on(12))))
    published(installation.engine, {pseudonym("ann", installation.key): [("cup", 1.0, "why")]})
    with pytest.raises(NoAuditDataError, match="Nobody had bought anything"):
        read_audit_window(installation, "home", 28)


def test_traits_are_those_of_the_people_who_were_shown_lists(stage: Any) -> None:
    with stage.here.engine.connect() as connection:
        keys = sorted(connection.exec_driver_sql("SELECT user_key FROM users").scalars())
    published(stage.here.engine, {key: [("500006", 1.0, "why")] for key in keys})
    window = read_audit_window(stage.here, "home", 28)
    assert window.data.users == len(keys)
    assert {"age", "income"} <= set(window.data.traits)
    assert all(len(values) == len(keys) for values in window.data.traits.values())
    assert np.unique(window.data.items.category).tolist() == ["", "GROCERY", "PRODUCE"]
