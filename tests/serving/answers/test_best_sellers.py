import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.lists.rules.placement_config import Pin, Placement, Rules, Selector
from serving.answers.best_sellers import BestSellers, Upkeep
from serving.answers.protocol import Filters
from serving.stores.catalogue import Catalogue
from serving.stores.rules import LayeredPlacements
from tests.serving.made_up_shop import ANN, BOB, ITEMS, NEW, PLACEMENTS, Holder, champion

MODEL = champion()
CATALOGUE = Catalogue.of_model(MODEL.bundle.model.items, MODEL.bundle.available)
BEST = BestSellers.build(MODEL, CATALOGUE, PLACEMENTS)


def first(listing: object, n: int = 3) -> list[str]:
    return [entry.item_id for entry in listing.entries[:n]]  # type: ignore[attr-defined]


def test_everybody_and_each_segment_have_best_sellers_and_what_is_due_has_none() -> None:
    everybody, segment = BEST.listing("home"), BEST.listing("home", "group_1")
    assert first(everybody) == ITEMS[:3]
    assert first(segment) == ITEMS[:-4:-1]
    assert everybody is not None
    assert not everybody.personal
    assert segment is not None
    assert segment.personal
    assert everybody.entries[0].reason == "Bought by 90 customers in the last 28 days"
    assert len(everybody.entries) == len(ITEMS)
    assert [BEST.segment_of(user) for user in (ANN, BOB, NEW, "0", "z")] == ["", "group_1", "group_1", "", ""]
    assert BEST.listing("again") is None
    assert BEST.filtered("again", Filters(), 3) is None


def test_rules_and_availability_apply() -> None:
    rules = Rules(exclude=Selector(items=["item-00"]))
    items = {name: item._replace(in_stock=name != "item-01") for name, item in CATALOGUE.by_id.items()}
    best = BestSellers.build(MODEL, Catalogue.of(items, 0.0), {"home": Placement(rules=rules)})
    assert first(best.listing("home")) == ITEMS[2:5]
    assert "item-00" not in {entry.item_id for entry in best.within("home", best.trending).entries}


def test_placements_that_leave_out_the_same_items_share_them() -> None:
    hiding = Placement(rules=Rules(exclude_items=["item-00"]))
    placements = {"home": hiding, "email": hiding.model_copy(update={"k": 5}), "all": Placement()}
    narrowed = BestSellers.build(MODEL, CATALOGUE, placements).narrowed
    assert narrowed["home"] is narrowed["email"]
    assert [item for item in (*ITEMS, "item-of-none") if item in narrowed["home"]] == ITEMS[1:]
    assert "all" not in narrowed


def test_filters_reach_items_that_no_list_holds() -> None:
    rare = {"item-29": CATALOGUE.by_id["item-29"]._replace(category="RARE")}
    best = BestSellers.build(MODEL, Catalogue.of(CATALOGUE.by_id | rare, 0.0), PLACEMENTS)
    listing = best.filtered("home", Filters(categories=("RARE",)), 3)
    assert first(listing) == ["item-29"]


def test_trending_items_sell_better_than_before() -> None:
    buyers = MODEL.bundle.buyers.copy()
    buyers[25] += 60
    best = BestSellers.build(replace(MODEL, bundle=replace(MODEL.bundle, buyers=buyers)), CATALOGUE, PLACEMENTS)
    assert first(best.trending, 1) == ["item-25"]
    assert all(np.isfinite(entry.score) for entry in best.trending.entries)


def test_the_season_of_best_sellers_does_not_move_trending_items() -> None:
    buyers = np.random.default_rng(0).permutation(MODEL.bundle.buyers)
    plain = replace(MODEL.bundle, buyers=buyers, segments=None)
    season = np.linspace(0.25, 4, len(buyers))
    ahead = replace(plain, fallback=(plain.fallback * season).astype(np.float32), season=season)
    lists = [BestSellers.build(replace(MODEL, bundle=bundle), CATALOGUE, PLACEMENTS) for bundle in (plain, ahead)]
    assert first(lists[0].trending, 9) == first(lists[1].trending, 9)
    assert first(lists[0].listing("home")) != first(lists[1].listing("home"))


def test_new_items_are_those_whose_sale_began_last() -> None:
    known = CATALOGUE.by_id
    dated = {name: known[name]._replace(available_from=moment) for name, moment in (("item-03", 5.0), ("item-04", 9.0))}
    unknown = {"unknown": known["item-00"]._replace(item_id="unknown")}
    best = BestSellers.build(MODEL, Catalogue.of(known | dated | unknown, 10.0), PLACEMENTS)
    assert first(best.newest, 9) == ["item-04", "item-03", "unknown"]


@pytest.mark.parametrize("seed", range(5))
def test_new_items_are_ordered_by_first_event_or_appearance_and_were_sold_or_are_in_stock(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- made-up data
    first_catalogue = 1_000.0
    goods, events = {}, dict(zip(ITEMS, (float(chance.randrange(900)) for _ in ITEMS), strict=True))
    for name in [*ITEMS, *(f"unsold-{n}" for n in range(40))]:
        goods[name] = CATALOGUE.by_id["item-00"]._replace(
            item_id=name,
            title=chance.choice([f"Title of {name}", f"Title of {name}", f"Item {name}", None]),
            in_stock=chance.choice([None, True, False]),
            first_seen=chance.choice([first_catalogue, first_catalogue, 1_000.0 + chance.randrange(500)]),
        )
    bundle = replace(MODEL.bundle, first_events=np.array([events[name] for name in MODEL.bundle.model.items]))
    best = BestSellers.build(replace(MODEL, bundle=bundle), Catalogue.of(goods, 2_000.0), PLACEMENTS)
    shown = [goods[entry.item_id] for entry in best.newest.entries]
    first, newest_sold = min(one.first_seen for one in goods.values()), max(goods[name].first_seen for name in ITEMS)

    def since(name: str, seen: float) -> float:
        return min(events.get(name, np.inf), np.inf if seen == first else seen)

    assert [
        since(one.item_id, one.first_seen) for one in shown if since(one.item_id, one.first_seen) < np.inf
    ] == sorted(
        (
            since(name, one.first_seen)
            for name, one in goods.items()
            if one.title == f"Title of {name}"
            and one.in_stock is not False
            and (name in events or one.in_stock or one.first_seen > newest_sold)
            and since(name, one.first_seen) < np.inf
        ),
        reverse=True,
    )
    assert all(one.title == f"Title of {one.item_id}" for one in shown)
    assert all((one.item_id in events or one.in_stock or one.first_seen > newest_sold) for one in shown)
    undated = [one.first_seen == first and one.item_id not in events for one in shown]
    assert undated == sorted(undated), "what is known since the first catalogue and was never sold comes last"


def test_under_other_rules_the_changed_placement_is_built_alone_and_for_one_user_the_same_lists() -> None:
    pinned = {**PLACEMENTS, "home": Placement(k=10, rules=Rules(pin=[Pin(item="item-07", place=1)]))}
    other = BEST.under(pinned)
    assert first(other.listing("home"), 2) == ["item-07", "item-00"]
    assert other.listing("similar-items") is BEST.listing("similar-items")
    assert (other.trending, other.newest) == (BEST.trending, BEST.newest)
    assert first(other.under(PLACEMENTS).listing("home")) == first(BEST.listing("home"))
    hiding = BEST.under({"home": Placement(rules=Rules(exclude_items=["item-00"]))})
    assert (hiding.placements.keys(), "item-00" in hiding.narrowed["home"]) == ({"home"}, False)
    pinned = {"home": pinned["home"]}
    everything = BEST.under(pinned).lists["home"]
    assert BEST.under(pinned, BOB).lists["home"] == {name: everything[name] for name in ("", "group_1")}
    assert BEST.under(pinned, "").lists["home"] == {"": everything[""]}


def upkeep(holder: Holder, placements: dict[str, Placement], catalogue: Catalogue = CATALOGUE) -> Upkeep:
    stores: Any = SimpleNamespace(catalogue=SimpleNamespace(current=catalogue, read=True))
    return Upkeep(holder, LayeredPlacements(placements), stores, BEST)


@pytest.mark.anyio
async def test_a_worker_uses_what_was_built_under_the_same_champion_catalogue_and_placements() -> None:
    own = upkeep(Holder(MODEL), PLACEMENTS)
    await own.refresh()
    assert own.best is not None
    assert own.best.builder is BEST.builder
    assert all(own.best.lists[name] is BEST.lists[name] for name in BEST.lists)


@pytest.mark.anyio
async def test_a_worker_builds_what_changed_since() -> None:
    changed = {name: one.model_copy(update={"k": one.k + 1}) for name, one in PLACEMENTS.items()}
    for own in (
        upkeep(Holder(champion(2, reverse=True)), PLACEMENTS),
        upkeep(Holder(MODEL), PLACEMENTS, Catalogue.of(CATALOGUE.by_id, 1.0)),
        upkeep(Holder(MODEL), changed),
    ):
        await own.refresh()
        assert own.best is not None
        assert not any(own.best.lists[name] is BEST.lists[name] for name in BEST.lists)
