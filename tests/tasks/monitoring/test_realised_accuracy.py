"""Tests shown lists of June 2024 with the purchases meanwhile: `at(n)` is ten o'clock on its n-th day."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from infra.database.schema.schema import items, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.columns import USER_KEY
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.monitoring.audit.audit_lists import NoAuditDataError, read_audit_window
from tasks.monitoring.realised_accuracy import realised_accuracy
from tests.published import published, put_back, shelf
from tests.tasks.ingest.events.test_ingest_segment import bought, call, on, viewed, write

NAMES = ("ann", "bob", "cleo")


def at(day: int) -> float:
    return datetime(2024, 6, day, 10, tzinfo=UTC).timestamp()


@pytest.fixture
def sales(installation: Installation, tmp_path: Path) -> Installation:
    """Cups and jugs sell before the tenth; then ann buys by phone too, and bob returns an order."""
    phone: dict[str, Any] = {"userId": None, "anonymousId": "phone"}
    calls = [
        bought(1, "a1", "cup", "jug", **on(2)),
        bought(2, "b1", "cup", userId="bob", **on(3)),
        bought(3, "c1", "pan", userId="cleo", **on(4)),
        call(4, "identify", anonymousId="phone", **on(5)),
        bought(5, "a2", "pot", **phone, **on(11)),
        bought(6, "a3", "cup", "lid", **on(12)),
        viewed(7, "pan", **on(12)),
        bought(8, "b2", "pot", userId="bob", **on(13)),
        call(9, event="Order Cancelled", userId="bob", properties={"order_id": "b2"}, **on(14)),
        bought(10, "a4", "pan", **on(20)),
    ]
    ingest_segment.fn("segment", write(tmp_path / "a", *calls))
    return installation


def key(sales: Installation, name: str) -> str:
    return pseudonym(name, sales.key)


def by_name(sales: Installation, result: Any) -> dict[str, dict[str, float]]:
    rows = {row.pop(USER_KEY): row for row in result.to_pylist()}
    return {name: rows[key(sales, name)] for name in ("ann", "bob", "cleo") if key(sales, name) in rows}


def test_purchases_by_any_device_count_and_those_that_were_taken_back_do_not(sales: Installation) -> None:
    show_lists(sales, at(10), "pot", "tin")
    result = by_name(sales, realised_accuracy(sales, at(10), at(18)))
    ann = {name: result["ann"][name] for name in ("targets", "hits", "control_hits")}
    assert ann == {"targets": 2, "hits": 1, "control_hits": 1}  # the control has room for cup and jug
    assert [result[name]["targets"] for name in ("bob", "cleo")] == [0, 0]


def test_only_what_was_bought_after_the_list_came_counts(sales: Installation) -> None:
    show_lists(sales, at(12), "pot", "pan")
    result = by_name(sales, realised_accuracy(sales, at(1), at(18)))["ann"]
    assert (result["targets"], result["hits"]) == (2, 0)


def test_each_purchase_is_held_against_the_list_of_its_time(sales: Installation) -> None:
    show_lists(sales, at(10), "pot", "tin", "mug")
    show_lists(sales, at(12), "cup", "pot", "jug", run="two")
    result = by_name(sales, realised_accuracy(sales, at(10), at(18)))["ann"]
    assert (result["targets"], result["hits"], result["hit"]) == (3, 2, 1)


def test_a_user_who_withdrew_consent_is_left_out(sales: Installation) -> None:
    show_lists(sales, at(10), "pot", "tin")
    with sales.engine.begin() as connection:
        connection.execute(update(users).where(users.c.user_key == key(sales, "ann")).values(consent=False))
    assert by_name(sales, realised_accuracy(sales, at(10), at(18))).keys() == {"bob", "cleo"}


def test_accuracy_before_anything_was_shown_is_unknown(sales: Installation) -> None:
    show_lists(sales, at(10), "pot", placement="basket")
    assert realised_accuracy(sales, at(10), at(18)) is None
    show_lists(sales, at(18), "pot")
    assert realised_accuracy(sales, at(10), at(18)) is None


def test_without_any_event_nobody_bought_anything(installation: Installation) -> None:
    row = {"user_key": "ann", "attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        connection.execute(users.insert().values(row))
    published(installation.engine, {"ann": [("pot", 1.0, "why")]})
    put_back(installation.engine, at(10))
    result = realised_accuracy(installation, at(10), at(18))
    assert result is not None
    assert result["targets"].to_pylist() == [0]


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


def show_lists(store: Installation, since: float, *goods: str, **about: Any) -> None:
    answer = [(item, 1.0, "why") for item in goods]
    lists = {pseudonym(name, store.key): answer for name in NAMES}
    published(store.engine, lists, shelf(k=len(goods), **about))
    put_back(store.engine, since)


def by_item(store: Installation, pairs: Any) -> dict[str, list[float]]:
    order = sorted(NAMES, key=lambda name: pseudonym(name, store.key))
    return {name: pairs.toarray()[order.index(name)].tolist() for name in NAMES}


def test_lists_are_held_against_what_was_bought_before_and_while_they_were_shown(store: Installation) -> None:
    show_lists(store, at(10), "cup", "pot", version=4)
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
    show_lists(store, at(8), "cup", run="one", version=4)
    show_lists(store, at(11), "pan", run="two", version=5)
    window = read_audit_window(store, "home", 28)
    assert by_item(store, window.data.shown)["ann"] == [0.75, 0, 0.25, 0, 0]
    assert window.versions == [4, 5]


def test_an_item_that_is_not_sold_any_more_is_audited_only_where_it_was_shown(store: Installation) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(items).where(items.c.item_id.in_(["pan", "tin"])).values(available=False))
    show_lists(store, at(10), "cup", "tin")
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
