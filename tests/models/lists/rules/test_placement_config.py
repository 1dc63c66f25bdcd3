import tomllib
from typing import Any

import pytest

from models.lists.rules.placement_config import Placement, PlacementError, Promote, placements

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
