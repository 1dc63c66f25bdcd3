from datetime import UTC, datetime, timedelta

import orjson
import pytest

from models.lists.rules.layer.applied_rules import layered
from models.lists.rules.layer.rule_layer import NO_RULES, HiddenItem, ItemBoost, PinnedItem, RuleLayer, words
from models.lists.rules.layer.rule_version import attributed, layer_from_json, layer_to_json
from models.lists.rules.placement_config import placements
from models.lists.rules.rule_words import sentences

NOW = datetime(2026, 11, 29, tzinfo=UTC)
FILE = placements(
    {
        "home": {
            "k": 4,
            "rules": {
                "exclude": {"brand": ["Private"]},
                "boost": [{"category": ["TEA"], "by": 2}],
                "pin": [{"item": "a", "place": 1}, {"item": "b", "place": 2}, {"item": "c", "place": 3}],
            },
        },
        "email": {
            "k": 2,
            "rules": {"hide": {"view": 2}, "cap": {"brand": 1}, "promote": {"price": ["", 3], "share": 0.5}},
        },
    }
)
LAYER = RuleLayer(
    (PinnedItem(placement="home", item="c", place=1), PinnedItem(placement="home", item="z", place=9)),
    (HiddenItem(item="b"), HiddenItem(item="d", placement="email"), HiddenItem(item="e", until=NOW)),
    (ItemBoost(placement="home", kind="brand", value="Acme", factor=0.5, until=NOW + timedelta(days=1)),),
)


def test_rules_of_operators_become_rules_of_the_placement() -> None:
    rules = layered(FILE["home"], LAYER.at("home", NOW)).rules
    assert [(pin.item, pin.place) for pin in rules.pin] == [("c", 1)]
    assert rules.exclude_items == ["b"]
    assert [boost.by for boost in rules.boost] == [2, 0.5]
    assert rules.exclude == FILE["home"].rules.exclude
    assert layered(FILE["email"], LAYER.at("email", NOW)).rules.exclude_items == ["b", "d"]


def test_without_rules_the_placement_is_the_same_object() -> None:
    assert layered(FILE["home"], NO_RULES) is FILE["home"]
    assert NO_RULES.next_end(NOW) is None


def test_a_rule_counts_until_its_end() -> None:
    assert LAYER.next_end(NOW) == NOW + timedelta(days=1)
    assert LAYER.at("home", NOW + timedelta(days=1)).boosts == ()
    assert "e" not in LAYER.at("home", NOW).hidden


def test_a_layer_survives_json() -> None:
    signed = attributed(LAYER, NO_RULES, "ann", NOW)
    again = layer_from_json(orjson.loads(orjson.dumps(layer_to_json(signed))))
    assert again == signed
    assert [rule.author for rule in again] == ["ann"] * 6
    assert [rule.since for rule in again] == [NOW] * 6


def test_a_rule_keeps_its_author_while_others_change() -> None:
    first = attributed(LAYER, NO_RULES, "ann", NOW)
    second = attributed(RuleLayer(LAYER.pins, (), LAYER.boosts), first, "bob", NOW + timedelta(hours=1))
    assert {rule.author for rule in second} == {"ann"}
    more = RuleLayer((*LAYER.pins, PinnedItem(placement="home", item="q", place=2)))
    assert attributed(more, first, "bob", NOW).pins[-1].author == "bob"


def test_rules_are_stated_in_words() -> None:
    signed = attributed(LAYER, NO_RULES, "ann", NOW)
    assert words(signed.pins[0]) == "item 'c' is pinned to place 1 of home, by ann on 2026-11-29"
    assert words(signed.hides[0]) == "item 'b' is hidden in all placements, by ann on 2026-11-29"
    assert words(LAYER.boosts[0]) == "brand 'Acme' is boosted by 0.5 in home until 2026-11-30 00:00 UTC"


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("home", "leaves out items of the brand 'Private'"),
        ("home", "multiplies the scores of items in 'TEA' by 2"),
        ("home", "puts 'a' in place 1"),
        ("email", "hides items that the user had the event view with in the last 2 days"),
        ("email", "shows at most 1 of one brand"),
        ("email", "keeps 50% of the places for items with prices up to 3"),
    ],
)
def test_the_file_is_stated_in_words(name: str, stated: str) -> None:
    assert stated in sentences(FILE[name])
