"""Histories that lists depend on, from events on known days of June; the newest is of day 21."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.lists.rules.placement_config import Placement
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.lake.user_item_history import due, fully_refunded, hidden, item_ages
from tasks.scoring.batch_work import catalogue_of
from tests.tasks.ingest.events.test_ingest_segment import bought, call, on, viewed, write

ITEMS = np.array(["cup", "jug", "lid", "pan", "pot"])
NAMES = ("ann", "bob", "cleo")


@pytest.fixture
def shop(installation: Installation, tmp_path: Path) -> Installation:
    """Ann buys as ann and by phone; bob buys cups every five days, and takes a lid and a whole order back."""
    phone: dict[str, Any] = {"userId": None, "anonymousId": "phone"}
    pieces = {"order_id": "b4", "products": [{"product_id": "lid"}]}
    calls = [
        bought(1, "a1", "pot", **phone, **on(1)),
        call(2, "identify", anonymousId="phone", **on(2)),
        bought(3, "a2", "jug", **on(12)),
        viewed(4, "pan", **on(20)),
        bought(5, "b1", "cup", userId="bob", **on(9)),
        bought(6, "b2", "cup", userId="bob", **on(14)),
        bought(7, "b3", "cup", userId="bob", **on(19)),
        bought(8, "b4", "lid", "jug", userId="bob", **on(10)),
        call(9, event="Order Refunded", userId="bob", properties=pieces, **on(11)),
        bought(10, "b5", "pan", "pot", userId="bob", **on(12)),
        call(11, event="Order Cancelled", userId="bob", properties={"order_id": "b5"}, **on(13)),
        bought(12, "c1", "cup", userId="cleo", **on(1)),
        bought(13, "c2", "cup", userId="cleo", **on(11)),
        viewed(14, "lid", userId="cleo", **on(21)),
    ]
    ingest_segment.fn("segment", write(tmp_path / "a", *calls))
    return installation


def people(shop: Installation) -> Any:
    keys = {name: pseudonym(name, shop.key) for name in NAMES}
    order = sorted(NAMES, key=lambda name: keys[name])
    return np.array([keys[name] for name in order]), order


def values(shop: Installation, pairs: Any) -> dict[str, set[str]]:
    _, order = people(shop)
    dense = pairs.toarray()
    return {name: set(ITEMS[dense[order.index(name)]].tolist()) for name in NAMES}


def hides(shop: Installation, **windows: float | str) -> dict[str, set[str]]:
    return values(shop, hidden(shop, people(shop)[0], ITEMS, windows))


def test_ever_hides_all_purchases_by_any_device_and_none_that_was_taken_back(shop: Installation) -> None:
    assert hides(shop, purchase="ever") == {"ann": {"jug", "pot"}, "bob": {"cup", "jug"}, "cleo": {"cup"}}


def test_items_that_a_user_returned_as_a_whole_can_be_hidden_too(shop: Installation) -> None:
    keys = people(shop)[0]
    returned = {"ann": set(), "bob": {"lid", "pan", "pot"}, "cleo": set()}
    assert values(shop, hidden(shop, keys, ITEMS, {}, returned=True)) == returned
    both = hidden(shop, keys, ITEMS, {"purchase": "ever"}, returned=True)
    assert values(shop, both) == {"ann": {"jug", "pot"}, "bob": {*ITEMS.tolist()}, "cleo": {"cup"}}


def test_the_window_of_each_type_reaches_so_many_days_back_from_the_newest_event(shop: Installation) -> None:
    assert hides(shop, purchase=10) == {"ann": {"jug"}, "bob": {"cup"}, "cleo": {"cup"}}
    assert hides(shop, purchase=9) == {"ann": {"jug"}, "bob": {"cup"}, "cleo": set()}
    assert hides(shop, purchase=1.5) == {"ann": set(), "bob": set(), "cleo": set()}
    assert hides(shop, purchase=3, view="ever") == {"ann": {"pan"}, "bob": {"cup"}, "cleo": {"lid"}}
    assert hides(shop, view=0.5) == {"ann": set(), "bob": set(), "cleo": {"lid"}}
    assert hides(shop, like="ever") == {name: set() for name in NAMES}


def test_due_is_what_was_not_bought_for_as_long_as_usually_lies_between(shop: Installation) -> None:
    result = values(shop, due(shop, people(shop)[0], ITEMS))
    assert result == {"ann": {"jug", "pot"}, "bob": {"jug"}, "cleo": {"cup"}}


def test_a_single_purchase_is_due_after_the_gap_of_the_item_over_all_users(
    installation: Installation, tmp_path: Path
) -> None:
    """A recount. Few users buy `lid` twice and nobody buys `pan` twice, so the median gap of the shop counts there."""
    random = np.random.default_rng(7)
    usual, again = {"cup": 2.0, "jug": 6.0, "lid": 1.0, "pan": 1.0, "pot": 12.0}, {"lid": 2, "pan": 0}
    days: dict[tuple[str, str], list[int]] = {}
    for number in range(30):
        for item, gap in usual.items():
            times = int(random.integers(2, 4)) if number < again.get(item, 9) else 1
            first = int(random.integers(0, 4 if times > 1 else 27))
            steps = np.maximum(1, random.normal(gap, 1, times - 1).round()).astype(int)
            days[f"user {number}", item] = sorted({1 + first, *(1 + first + np.cumsum(steps)).tolist()})
    calls = [
        bought(n * 100 + place, f"{n} {place}", item, userId=user, **on(min(day, 30)))
        for n, ((user, item), own) in enumerate(days.items())
        for place, day in enumerate(own)
    ]
    ingest_segment.fn("segment", write(tmp_path / "a", *calls))
    capped = {pair: sorted({min(day, 30) for day in own}) for pair, own in days.items()}
    own_gap = {pair: (own[-1] - own[0]) / (len(own) - 1) for pair, own in capped.items() if len(own) > 1}
    of_item = {item: [gap for (_, name), gap in own_gap.items() if name == item] for item in usual}
    item_gap = {item: float(np.median(gaps)) for item, gaps in of_item.items() if len(gaps) >= 3}
    assert item_gap.keys() == {"cup", "jug", "pot"}
    newest, of_shop = max(own[-1] for own in capped.values()), float(np.median(list(own_gap.values())))
    expected = {
        pair
        for pair, own in capped.items()
        if newest - own[-1] >= max(1, own_gap.get(pair, item_gap.get(pair[1], of_shop)))
    }
    keys = {pseudonym(f"user {number}", installation.key): f"user {number}" for number in range(30)}
    order = np.array(sorted(keys))
    found = due(installation, order, ITEMS).tocoo()
    pairs = {(keys[order[row]], str(ITEMS[column])) for row, column in zip(*found.coords, strict=True)}
    assert pairs == expected
    singles = {pair for pair in capped if len(capped[pair]) == 1}
    assert 0 < len(pairs & singles) < len(singles)
    some = due(installation, order[:1], ITEMS[3:4])  # the gaps are those of all users and items
    assert bool(some.nnz) == ((keys[order[0]], "pan") in expected)


def test_fully_refunded_items_are_found(shop: Installation) -> None:
    known = np.array(["cup", "jug", "lid", "never", "pan", "pot"])
    assert known[fully_refunded(shop, known)].tolist() == ["lid", "pan"]
    assert known[catalogue_of(shop, known, Placement()).available].tolist() == ["cup", "jug", "pot"]


def test_only_the_given_users_and_items_are_read(shop: Installation) -> None:
    some = hidden(shop, people(shop)[0][:1], ITEMS[1:2], {"purchase": "ever"})
    assert some.shape == (1, 1)
    assert hidden(shop, np.array(["a stranger"]), ITEMS, {"purchase": "ever"}).nnz == 0


def test_without_windows_or_events_nothing_is_hidden_or_due(installation: Installation) -> None:
    somebody = np.array(["ann"])
    assert hidden(installation, somebody, ITEMS, {}) is None
    assert hidden(installation, somebody, ITEMS, {"purchase": "ever"}) is None
    assert due(installation, somebody, ITEMS).nnz == 0
    assert np.isnan(item_ages(installation, ITEMS)).all()


def test_an_item_is_as_old_as_its_first_event_and_without_one_its_age_is_unknown(shop: Installation) -> None:
    result = item_ages(shop, np.array(["cup", "jug", "never", "pan"]))
    assert result[[0, 1, 3]].tolist() == [20, 11, 9]
    assert np.isnan(result[2])
