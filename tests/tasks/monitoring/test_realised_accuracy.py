"""Tests shown lists of June 2024 with the purchases meanwhile: `at(n)` is ten o'clock on its n-th day."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from infra.database.schema.schema import users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.columns import USER_KEY
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.monitoring.realised_accuracy import realised_accuracy
from tests.published import published, put_back, shelf
from tests.tasks.ingest.events.test_ingest_segment import bought, call, on, viewed, write


def at(day: int) -> float:
    return datetime(2024, 6, day, 10, tzinfo=UTC).timestamp()


@pytest.fixture
def shop(installation: Installation, tmp_path: Path) -> Installation:
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


def key(shop: Installation, name: str) -> str:
    return pseudonym(name, shop.key)


def show(shop: Installation, since: int, *goods: str, run: str = "one", placement: str = "home") -> None:
    answer = [(item, 1.0, "why") for item in goods]
    shown = {key(shop, name): answer for name in ("ann", "bob", "cleo")}
    published(shop.engine, shown, shelf(run, placement, k=len(goods)))
    put_back(shop.engine, at(since))


def by_name(shop: Installation, result: Any) -> dict[str, dict[str, float]]:
    rows = {row.pop(USER_KEY): row for row in result.to_pylist()}
    return {name: rows[key(shop, name)] for name in ("ann", "bob", "cleo") if key(shop, name) in rows}


def test_purchases_by_any_device_count_and_those_that_were_taken_back_do_not(shop: Installation) -> None:
    show(shop, 10, "pot", "tin")
    result = by_name(shop, realised_accuracy(shop, at(10), at(18)))
    ann = {name: result["ann"][name] for name in ("targets", "hits", "control_hits")}
    assert ann == {"targets": 2, "hits": 1, "control_hits": 1}  # the control has room for cup and jug
    assert [result[name]["targets"] for name in ("bob", "cleo")] == [0, 0]


def test_only_what_was_bought_after_the_list_came_counts(shop: Installation) -> None:
    show(shop, 12, "pot", "pan")
    result = by_name(shop, realised_accuracy(shop, at(1), at(18)))["ann"]
    assert (result["targets"], result["hits"]) == (2, 0)


def test_each_purchase_is_held_against_the_list_of_its_time(shop: Installation) -> None:
    show(shop, 10, "pot", "tin", "mug")
    show(shop, 12, "cup", "pot", "jug", run="two")
    result = by_name(shop, realised_accuracy(shop, at(10), at(18)))["ann"]
    assert (result["targets"], result["hits"], result["hit"]) == (3, 2, 1)


def test_a_user_who_withdrew_consent_is_left_out(shop: Installation) -> None:
    show(shop, 10, "pot", "tin")
    with shop.engine.begin() as connection:
        connection.execute(update(users).where(users.c.user_key == key(shop, "ann")).values(consent=False))
    assert by_name(shop, realised_accuracy(shop, at(10), at(18))).keys() == {"bob", "cleo"}


def test_accuracy_before_anything_was_shown_is_unknown(shop: Installation) -> None:
    show(shop, 10, "pot", placement="basket")
    assert realised_accuracy(shop, at(10), at(18)) is None
    show(shop, 18, "pot")
    assert realised_accuracy(shop, at(10), at(18)) is None


def test_without_any_event_nobody_bought_anything(installation: Installation) -> None:
    row = {"user_key": "ann", "attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        connection.execute(users.insert().values(row))
    published(installation.engine, {"ann": [("pot", 1.0, "why")]})
    put_back(installation.engine, at(10))
    result = realised_accuracy(installation, at(10), at(18))
    assert result is not None
    assert result["targets"].to_pylist() == [0]
