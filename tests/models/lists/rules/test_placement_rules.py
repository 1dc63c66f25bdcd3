import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes, notes
from models.lists.rules.placement_config import Placement, PlacementError, Promote, placements

IDS = ["a", "b", "c", "d", "e"]
EMAIL = """
[email]
subject = "user"
k = 10
policy = "discover"
fresh_hours = 30
overlap = [0.05, 1]
[email.rules]
hide = { purchase = 30, view = 2.5, dislike = "ever" }
include = { category = ["GROCERY", "DELI|CHEESE"], price = [1, ""] }
exclude = { brand = ["PRIVATE"], items = ["123"] }
cap = { category = 3, brand = 2 }
cap_level = 1
lifetime_days = 90
boost = [ { category = ["DELI"], by = 1.2 }, { price = ["", 5], by = 2 } ]
pin = [ { item = "123", place = 1 }, { item = "7", place = 10 } ]
promote = { brand = ["National"], share = 0.2 }

[similar-items]
subject = "item"
method = "similarity"
"""


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
        ({"items": ["a", "d", "z"]}, "ad"),
        ({"price": [2, 3]}, "bc"),
        ({"price": ["", 2]}, "ab"),
        ({"price": [2, ""]}, "bc"),
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
        (
            {"exclude": {"items": ["a"], "price": [900, ""]}},
            "rules.exclude: no item fits it; an item has to fit items and price",
        ),
        (
            {"boost": [{"brand": ["Dairy"], "by": 2}]},
            "rules.boost.0: all items that fit are unavailable, or left out by another rule",
        ),
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


def one(**settings: Any) -> Placement:
    return placements({"home": settings})["home"]


def rules(**settings: Any) -> dict[str, Any]:
    return {"rules": settings}


def test_a_file_configures_each_placement() -> None:
    email, similar = (placements(tomllib.loads(EMAIL))[name] for name in ("email", "similar-items"))
    assert (email.subject, email.method, email.k, email.policy) == ("user", None, 10, "discover")
    assert (email.fresh_hours, email.overlap) == (30, (0.05, 1))
    assert email.rules.hide == {"purchase": 30, "view": 2.5, "dislike": "ever"}
    assert email.rules.include is not None
    assert email.rules.include.category == ["GROCERY", "DELI|CHEESE"]
    assert email.rules.include.price == (1, None)
    assert email.rules.cap is not None
    assert (email.rules.cap.category, email.rules.cap.brand, email.rules.cap_level) == (3, 2, 1)
    assert [(rule.by, rule.price) for rule in email.rules.boost] == [(1.2, None), (2, (None, 5))]
    assert [(pin.item, pin.place) for pin in email.rules.pin] == [("123", 1), ("7", 10)]
    assert email.rules.promote is not None
    assert email.rules.promote.places(10) == 2
    assert (similar.subject, similar.method) == ("item", "similarity")


def test_keys_and_words_of_earlier_versions_mean_the_same() -> None:
    earlier = {
        "due": {"policy": "again"},
        "alike": {"about": "item", "by": "likeness"},
        "together": {"about": "item", "by": "baskets"},
    }
    now = {
        "due": {"policy": "repurchase"},
        "alike": {"subject": "item", "method": "similarity"},
        "together": {"subject": "item", "method": "co_purchase"},
    }
    assert placements(earlier) == placements(now)


def test_a_placement_needs_no_setting() -> None:
    plain = one()
    assert (plain.subject, plain.k, plain.policy, plain.fresh_hours, plain.overlap) == ("user", 20, "mix", 48, (0, 1))
    assert plain.rules.hide == {}
    assert plain.rules.cap_level == 2
    assert placements({}) == {}


def test_a_share_of_places_is_counted_as_people_count() -> None:
    counts = [Promote(share=share, brand=["A"]).places(k) for share, k in ((0.29, 100), (1 / 3, 3), (0.2, 8), (1.0, 7))]
    assert counts == [29, 1, 1, 7]


@pytest.mark.parametrize("name", ["home", "a", "goes-well-with", "2nd", "a" * 63])
def test_names_are_words_of_addresses(name: str) -> None:
    assert list(placements({name: {}})) == [name]


@pytest.mark.parametrize("name", ["Home", "", "-a", "a-", "a b", "a_b", "ä", "a" * 64, "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(PlacementError, match="a placement is named by small letters, digits and - within, at most 63"):
        placements({name: {}})


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            {"subject": "item"},
            'home.method: it is missing; the method of lists about items is "similarity" or "co_purchase"',
        ),
        ({"method": "similarity"}, "home.method: it belongs to lists about items; take it out"),
        ({"subject": "item", "method": "co_purchase", **rules(hide={"view": 1})}, "home.rules.hide: it is about users"),
        ({"k": 0}, "home.k: Input should be greater than or equal to 1"),
        ({"overlap": 0.5}, r"home.overlap: write \[lowest, highest\], both of them shares from 0 to 1"),
        ({"rule": {}}, "home.rule: there is no such key; the nearest is 'rules'"),
        (rules(hide=["view"]), "home.rules.hide: write a table: "),
        (rules(hide={"view": 0}), 'home.rules.hide.view: 0 is no time; write days, such as 30 or 0.5, or "ever"'),
        ({"policy": "repurchase", **rules(hide={"purchase": "ever"})}, "home.rules.hide.purchase: it hides all that"),
        (rules(include={}), "home.rules.include: it selects nothing; name one of items, category, brand, price"),
        (rules(include={"brand": []}), "home.rules.include.brand: write a list of one word or more"),
        (rules(exclude={"category": ["A|"]}), r"home.rules.exclude.category: a level of 'A\|' is empty; write whole"),
        (rules(cap_level=1), "home.rules.cap_level: it belongs to a cap by category"),
        (rules(boost={"by": 2}), r"home.rules.boost: write a list: \[...\]"),
        (rules(pin=[{"item": 3, "place": 1}]), "home.rules.pin.0.item: write it in quotes"),
        (
            rules(pin=[{"item": "a", "place": 21}]),
            "home.rules.pin.0.place: place 21 is beyond the list; .* which is 20",
        ),
        (
            rules(pin=[{"item": "a", "place": 1}, {"item": "a", "place": 2}]),
            "home.rules.pin.1.item: 'a' is pinned already, by pin.0",
        ),
        (
            {"k": 3, **rules(promote={"brand": ["A"], "share": 0.3})},
            "home.rules.promote.share: this is less than one of 3 places; write at least 0.334",
        ),
        (
            {"k": 2, **rules(promote={"brand": ["A"], "share": 1}, pin=[{"item": "a", "place": 1}])},
            "home.rules.promote.share: this is 2 of 2 places, and the pins leave 1",
        ),
    ],
)
def test_an_invalid_setting_is_named_with_valid_ones(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(PlacementError, match=f"The placements cannot be used: {fault}"):
        one(**settings)


def test_the_least_share_that_the_message_names_is_enough() -> None:
    for k in range(1, 101):
        with pytest.raises(PlacementError, match="write at least") as refused:
            one(k=k, **rules(promote={"brand": ["A"], "share": 1e-4}))
        share = float(str(refused.value).rstrip(".").rpartition(" ")[2])
        assert one(k=k, **rules(promote={"brand": ["A"], "share": share})).rules.promote is not None


def test_all_mistakes_of_all_placements_are_reported_at_once() -> None:
    pins = [{"item": "a", "place": 30}, {"item": "b", "place": 40}]
    content = {"Home": {"k": 0, "rules": {"cap": {}}}, "email": 3, "other": {"subject": "item", "rules": {"pin": pins}}}
    with pytest.raises(PlacementError) as refused:
        placements(content)
    for place in ("Home: ", "Home.k: ", "Home.rules.cap: ", "email: write a table", "other.rules.pin.1.place: "):
        assert place in str(refused.value)


def test_braces_in_a_mistake_are_no_riddle() -> None:
    with pytest.raises(PlacementError, match=r"'\{a\}' is pinned already"):
        one(**rules(pin=[{"item": "{a}", "place": 1}, {"item": "{a}", "place": 2}]))
