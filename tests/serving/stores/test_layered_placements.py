"""Placements change with the rules, and at the moment a rule ends."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from models.lists.rules.layer.rule_layer import NO_VERSION, HiddenItem, RuleLayer, RuleVersion
from models.lists.rules.placement_config import Placement
from serving.stores.rules import LayeredPlacements
from tests.serving.operator_rules import pin

NOW = datetime(2026, 11, 29, tzinfo=UTC)
FILE = {"home": Placement(k=3), "email": Placement(k=2)}


@dataclass
class Rules:
    """A version and a clock that a test sets."""

    current: RuleVersion = NO_VERSION
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


def test_a_rule_ends_at_its_moment() -> None:
    ending = RuleLayer((), (HiddenItem(item="a", until=NOW + timedelta(seconds=1)),))
    rules = Rules(replace(NO_VERSION, layer=ending))
    placements = LayeredPlacements(FILE, rules)
    assert placements.layer("home").hidden == {"a"}
    assert placements["home"].rules.exclude_items == ["a"]
    before = placements.snapshot
    assert placements.snapshot is before
    rules.moment = NOW + timedelta(seconds=1)
    assert placements.layer("home").hidden == frozenset()
    assert placements.snapshot is not before
    assert placements["home"] == FILE["home"]


def test_a_placement_that_a_new_version_leaves_as_it_was_stays_the_same_object() -> None:
    rules = Rules()
    placements = LayeredPlacements(FILE, rules)
    assert placements["home"] is FILE["home"]
    rules.current = replace(NO_VERSION, version=1, layer=RuleLayer((pin("a"),)))
    home, email, layer = placements["home"], placements["email"], placements.layer("home")
    assert email is FILE["email"]
    rules.current = replace(NO_VERSION, version=2, layer=RuleLayer((pin("a"), pin("b", 1, "email"))))
    assert placements["email"] is not email
    assert (placements["home"] is home, placements.layer("home") is layer) == (True, True)
    assert (len(placements), list(placements)) == (2, ["home", "email"])
