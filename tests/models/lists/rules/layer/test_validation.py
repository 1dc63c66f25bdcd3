from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from models.lists.rules.compiled_rules import ItemAttributes
from models.lists.rules.layer.rule_layer import NO_RULES, BoostKind, HiddenItem, ItemBoost, PinnedItem, RuleLayer
from models.lists.rules.layer.validation import MOST_RULES, conflicts, faults
from models.lists.rules.placement_config import Placement, placements

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PLACEMENTS = {"home": Placement(k=3), "email": Placement(k=2)}


class Names:
    """A catalogue of four items."""

    def has(self, kind: BoostKind, value: str) -> bool:
        return value in {"item": ("a", "b", "c", "d"), "category": ("FOOD|TEA",), "brand": ("Acme",)}[kind]


def pin(item: str = "a", place: int = 1, placement: str = "home", **others: Any) -> PinnedItem:
    return PinnedItem(item=item, place=place, placement=placement, **others)


def boost(kind: BoostKind = "brand", value: str = "Acme", factor: float = 2.0, **others: Any) -> ItemBoost:
    return ItemBoost(placement="home", kind=kind, value=value, factor=factor, **others)


def places(layer: RuleLayer, before: RuleLayer = NO_RULES) -> list[str]:
    return [fault.place for fault in faults(layer, before, PLACEMENTS, Names(), NOW)]


def test_a_sound_layer_has_no_faults() -> None:
    layer = RuleLayer(
        (pin(), pin("b", 2), pin("a", 1, "email")), (HiddenItem(item="c"),), (boost(), boost("item", "d"))
    )
    assert places(layer) == []


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        (RuleLayer((pin(placement="nowhere"),)), "/pins/0/placement"),
        (RuleLayer((), (HiddenItem(item="a", placement="nowhere"),)), "/hides/0/placement"),
        (RuleLayer((pin("unheard"),)), "/pins/0/item"),
        (RuleLayer((), (HiddenItem(item="unheard"),)), "/hides/0/item"),
        (RuleLayer((pin(place=4),)), "/pins/0/place"),
        (RuleLayer((pin(place=0),)), "/pins/0/place"),
        (RuleLayer((pin("a", 1), pin("b", 1))), "/pins/1/place"),
        (RuleLayer((pin("a", 1), pin("a", 2))), "/pins/1/item"),
        (RuleLayer((pin("a"),), (HiddenItem(item="a"),)), "/pins/0/item"),
        (RuleLayer((pin("a"),), (HiddenItem(item="a", placement="home"),)), "/pins/0/item"),
        (RuleLayer((), (HiddenItem(item="a"), HiddenItem(item="a"))), "/hides/1/item"),
        (RuleLayer((), (), (boost(factor=0.001),)), "/boosts/0/factor"),
        (RuleLayer((), (), (boost(factor=1e9),)), "/boosts/0/factor"),
        (RuleLayer((), (), (boost(factor=float("nan")),)), "/boosts/0/factor"),
        (RuleLayer((), (), (boost(), boost(factor=3.0))), "/boosts/1/value"),
        (RuleLayer((), (), (boost("category", "FOOD||TEA"),)), "/boosts/0/value"),
        (RuleLayer((), (), (boost("category", "WINE"),)), "/boosts/0/value"),
        (RuleLayer((), (HiddenItem(item="a", until=NOW),)), "/hides/0/until"),
        (RuleLayer(tuple(pin("a", place) for place in range(MOST_RULES + 1))), ""),
    ],
    ids=str,
)
def test_each_fault_is_named_by_its_place(layer: RuleLayer, place: str) -> None:
    assert places(layer)[:1] == [place]


def test_hiding_an_item_elsewhere_does_not_contradict_a_pin() -> None:
    assert places(RuleLayer((pin("a"),), (HiddenItem(item="a", placement="email"),))) == []


def test_rules_that_ended_may_stay_and_contradict_nothing() -> None:
    ended = HiddenItem(item="a", until=NOW - timedelta(days=1))
    assert places(RuleLayer((pin("a"),), (ended,)), RuleLayer((), (ended,))) == []


def goods() -> ItemAttributes:
    words, nothing = np.array(["", "", "", ""]), np.full(4, np.nan)
    sold = np.array([True, True, True, False])
    return ItemAttributes(np.array(["a", "b", "c", "d"]), words, np.array(["Acme", "", "", ""]), nothing, nothing, sold)


FILE = placements(
    {
        "home": {
            "k": 3,
            "rules": {
                "exclude": {"items": ["b"]},
                "pin": [{"item": "c", "place": 1}],
                "boost": [{"brand": ["Acme"], "by": 0.5}],
                "promote": {"brand": ["Acme"], "share": 0.4},
            },
        }
    }
)


@pytest.mark.parametrize(
    ("layer", "detail"),
    [
        (RuleLayer((pin("b", 2),)), "the file leaves it out"),
        (RuleLayer((pin("a", 1),)), "where the file pins 'c'"),
        (RuleLayer((pin("c", 2),)), "the file pins it to place 1"),
        (RuleLayer((pin("a", 9),)), "the file's lists have 3 places"),
        (RuleLayer((pin("d", 2),)), "it cannot be bought now"),
        (RuleLayer((pin("gone", 2),)), "the catalogue does not have it"),
        (RuleLayer((pin("a", 2), pin("c", 3))), "the file promotes items in 1"),
        (RuleLayer((), (HiddenItem(item="c"),)), "the file pins it to place 1"),
        (RuleLayer((), (), (boost(),)), "the file boosts it by 0.5"),
        (RuleLayer((), (), (boost("item", "b"),)), "the boost has no effect"),
        (RuleLayer((pin(placement="old"),)), "no such placement"),
    ],
    ids=str,
)
def test_each_conflict_with_the_file_is_stated(layer: RuleLayer, detail: str) -> None:
    found = conflicts(FILE, layer, goods())
    (stated,) = [one for one in found if detail in one.detail]
    assert stated.rule is None or stated.rule in list(layer)


def test_a_pin_of_an_item_that_the_champion_does_not_have_is_a_conflict_of_this_pin() -> None:
    layer = RuleLayer((pin("a", 2), pin("c", 1)))
    (found,) = conflicts(FILE, layer, goods(), np.array(["c"]))
    assert found.rule is layer.pins[0]
    assert "newer than the champion; until the next training no list is made with it" in found.detail
    assert [layer.place_of(rule) for rule in layer] == ["/pins/0", "/pins/1"]


def test_rules_that_fit_the_file_have_no_conflict() -> None:
    assert conflicts(FILE, RuleLayer((pin("a", 2),), (HiddenItem(item="d"),), ()), goods()) == []
