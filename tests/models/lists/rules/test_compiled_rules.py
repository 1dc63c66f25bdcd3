from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes, notes
from models.lists.rules.placement_config import Placement, placements

IDS = ["a", "b", "c", "d", "e"]


def catalogue(**entries: Any) -> ItemAttributes:
    """Bread and rye bread, breadcrumbs, a thing of which nothing is known, and cheese that is sold out."""
    known = {
        "items": np.array(IDS),
        "category": np.array(["FOOD|BREAD", "FOOD|BREAD|RYE", "FOOD|BREADCRUMBS", "", "DELI|CHEESE"]),
        "brand": np.array(["Mill", "Mill", "Crumb", "", "Dairy"]),
        "price": np.array([1.0, 2.0, 3.0, np.nan, 5.0]),
        "age_days": np.array([10.0, 100.0, 400.0, np.nan, 1.0]),
        "available": np.array([True, True, True, True, False]),
    }
    return ItemAttributes(**{**known, **entries})


def placement(k: int = 3, **rules: Any) -> Placement:
    return placements({"home": {"k": k, "rules": rules}})["home"]


def shown(**rules: Any) -> str:
    """Ids of what may be shown."""
    allowed = CompiledRules.of(placement(**rules), catalogue()).allowed
    return "".join(np.array(IDS)[allowed])


def test_without_rules_all_that_is_available_may_be_shown() -> None:
    rules = CompiledRules.of(placement(k=4), catalogue())
    assert rules.k == 4
    assert rules.allowed.tolist() == [True, True, True, True, False]
    assert rules.boost.dtype == np.float32
    assert rules.boost.tolist() == [1] * 5
    assert (rules.caps, rules.promoted_places, rules.pins) == ((), (), ())
    plain = CompiledRules.plain(4, catalogue().available)
    assert (plain.k, plain.boost.tolist(), plain.caps, plain.pins) == (4, [1] * 5, (), ())


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        ({"category": ["FOOD|BREAD"]}, "ab"),
        ({"category": ["FOOD"]}, "abc"),
        ({"category": ["FOOD|BREAD|RYE", "DELI"]}, "b"),
        ({"category": ["FOO"]}, ""),
        ({"brand": ["Mill", "Dairy"]}, "ab"),
        ({"brand": ["mill"]}, ""),
        ({"items": ["a", "d", "z"]}, "ad"),
        ({"price": [2, 3]}, "bc"),
        ({"price": ["", 2]}, "ab"),
        ({"price": [2, ""]}, "bc"),
        ({"price": 1}, "a"),
        ({"brand": ["Mill"], "price": [2, ""]}, "b"),
    ],
)
def test_only_what_is_selected_may_be_shown_or_all_but_that(selector: dict[str, Any], left: str) -> None:
    assert shown(include=selector) == left
    assert shown(exclude=selector) == "".join(item for item in "abcd" if item not in left)


def test_an_item_is_left_out_after_its_lifetime_and_one_of_unknown_age_stays() -> None:
    assert shown(lifetime_days=100) == "abd"


def test_boosts_that_match_are_multiplied() -> None:
    boost = [{"category": ["FOOD"], "by": 2}, {"brand": ["Mill"], "by": 0.25}, {"items": ["d"], "by": 1e30}]
    rules = CompiledRules.of(placement(boost=boost), catalogue())
    assert rules.boost.tolist() == [0.5, 0.5, 2, 1e6, 1]
    groups = [(group.items.tolist(), float(group.by)) for group in rules.candidates]
    assert groups == [([0, 1], 0.5), ([2], 2), ([3], 1e6)]


def test_a_cap_counts_by_so_many_levels_and_not_what_has_no_group() -> None:
    def alike(group: Any) -> set[str]:
        return {"".join(np.array(IDS)[group == number]) for number in np.unique(group) if number >= 0}

    two, brand = CompiledRules.of(placement(cap={"category": 1, "brand": 2}), catalogue()).caps
    assert (two.most, brand.most) == (1, 2)
    assert alike(two.group) == {"ab", "c", "e"}
    assert alike(brand.group) == {"ab", "c", "e"}
    assert two.group[3] == brand.group[3] == -1
    assert two.group.dtype == np.int32
    (one,) = CompiledRules.of(placement(cap={"category": 1}, cap_level=1), catalogue()).caps
    assert alike(one.group) == {"abc", "e"}
    (three,) = CompiledRules.of(placement(cap={"category": 1}, cap_level=3), catalogue()).caps
    assert alike(three.group) == {"a", "b", "c", "e"}


@pytest.mark.parametrize("paths", [["Everything"] * 5, [""] * 5])
def test_a_category_of_all_items_and_missing_ones_cut_no_list_and_are_noted(paths: list[str]) -> None:
    same, capped = catalogue(category=np.array(paths)), placement(k=4, cap={"category": 2})
    assert CompiledRules.of(capped, same).limits == ()
    assert any("so nothing is capped" in note for note in notes(capped, same))


def test_pins_stand_in_order_of_their_places_and_unknown_ones_are_passed_over() -> None:
    pins = [{"item": "c", "place": 3}, {"item": "z", "place": 2}, {"item": "e", "place": 1}]
    rules = CompiledRules.of(placement(pin=pins), catalogue())
    assert rules.pins == ((0, 4), (2, 2))
    assert rules.pinned.tolist() == [2]


@pytest.mark.parametrize(
    ("k", "share", "pinned", "places"),
    [
        (8, 0.25, [], (2, 6)),
        (10, 0.2, [], (2, 7)),
        (5, 0.2, [], (2,)),
        (3, 1, [], (0, 1, 2)),
        (5, 0.4, [2], (2, 4)),
        (3, 0.67, [1], (1, 2)),
    ],
)
def test_promoted_places_are_spread_over_those_without_a_pin(
    k: int, share: float, pinned: list[int], places: tuple[int, ...]
) -> None:
    pins = [{"item": IDS[at], "place": place} for at, place in enumerate(pinned)]
    rules = CompiledRules.of(placement(k, pin=pins, promote={"brand": ["Mill"], "share": share}), catalogue())
    assert rules.promoted_places == places
    assert rules.promoted.tolist() == [True, True, False, False, False]
    assert [group.items.tolist() for group in rules.candidates_to_promote] == [[0, 1]]


def test_an_empty_catalogue_is_no_error() -> None:
    none = np.empty(0, dtype=np.float64)
    words = np.empty(0, dtype=np.str_)
    empty = ItemAttributes(words, words, words, none, none, none.astype(bool))
    rule = {"brand": ["A"], "category": ["B"]}
    entries = placement(include=rule, exclude=rule, cap={"category": 1, "brand": 1}, promote={**rule, "share": 1})
    rules = CompiledRules.of(entries, empty)
    assert (rules.candidates, rules.candidates_to_promote, rules.limits) == ((), (), ())
    assert notes(entries, empty)


def test_rules_that_do_something_need_no_note() -> None:
    entries = placement(
        include={"category": ["FOOD"]},
        exclude={"brand": ["Dairy"]},
        cap={"category": 1, "brand": 2},
        lifetime_days=500,
        boost=[{"price": [1, 2], "by": 2}],
        pin=[{"item": "a", "place": 1}],
    )
    assert notes(entries, catalogue()) == []


@pytest.mark.parametrize(
    ("rules", "note"),
    [
        (
            {"exclude": {"items": ["1", "2", "a", "3", "4"]}},
            "rules.exclude.items: no item has '1', '2', '3' and 1 more",
        ),
        ({"include": {"category": ["FOOD", "FOD"]}}, "rules.include.category: no item has 'FOD'"),
        ({"boost": [{"brand": ["mill"], "by": 2}]}, "rules.boost.0: no item fits it"),
        (
            {"exclude": {"items": ["a"], "price": [900, ""]}},
            "rules.exclude: no item fits it; an item has to fit items and price",
        ),
        (
            {"boost": [{"brand": ["Dairy"], "by": 2}]},
            "rules.boost.0: all items that fit are unavailable, or left out by another rule",
        ),
        ({"promote": {"price": [7, ""], "share": 0.5}}, "rules.promote: no item fits it"),
        (
            {"pin": [{"item": "z", "place": 1}]},
            "rules.pin.0.item: 'z' is not in the catalogue, or newer than the champion; the pin is ignored",
        ),
        (
            {"pin": [{"item": "e", "place": 1}]},
            "rules.pin.0.item: 'e' is unavailable, or left out by another rule; the pin is ignored",
        ),
        ({"include": {"brand": ["Mill"]}}, "k: lists of 3 cannot be full; items that may be shown: 2"),
    ],
)
def test_a_rule_that_matches_nothing_is_noted(rules: dict[str, Any], note: str) -> None:
    assert note in notes(placement(**rules), catalogue())


def test_columns_that_the_catalogue_lacks_are_noted() -> None:
    unknown = catalogue(category=np.full(5, ""), brand=np.full(5, ""), age_days=np.full(5, np.nan))
    entries = notes(placement(cap={"category": 1, "brand": 1}, lifetime_days=3), unknown)
    assert entries == [
        "rules.cap.category: no item has a category, so nothing is capped",
        "rules.cap.brand: no item has a brand, so nothing is capped",
        "rules.lifetime_days: of no item is known when it was first seen, so none is left out",
    ]


def test_groups_are_numbered_once_whatever_is_in_stock() -> None:
    known = catalogue()
    sold_out = replace(known, available=np.zeros(len(IDS), dtype=bool))
    assert sold_out.brands() is known.brands()
    assert sold_out.categories(1) is known.categories(1)
    assert known.categories(2).tolist() != known.categories(1).tolist()
