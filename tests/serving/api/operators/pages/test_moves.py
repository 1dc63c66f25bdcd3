from math import inf

from models.lists.rules.layer.rule_layer import HiddenItem, ItemBoost, PinnedItem
from serving.api.operators.pages.moves import moves
from serving.api.operators.pages.rules import layer_of
from serving.operations.rule_changes import Preview
from serving.stores.catalogue import Item
from tests.serving.api.fakes import answer

BOOST = ItemBoost(placement="home", kind="category", value="FOOD|TEA", factor=1.5)


def test_a_preview_names_the_rule_behind_each_changed_place_and_the_places_that_merely_shift() -> None:
    before, after = answer(["a", "b", "c", "e"]), answer(["d", "b", "a", "f"])
    tea = Item("f", "Tea", None, None, None, None, "FOOD|TEA", "Ahmad", True, True, -inf, inf)
    added = [PinnedItem(placement="home", item="d", place=1), HiddenItem(item="c", placement="home"), BOOST]
    left, shown = moves(Preview(before, after), layer_of([]), layer_of(added), {"f": tea})
    assert left == {"c": ("left out", "hidden"), "e": ("left out", "")}
    assert shown == {"d": ("new", "pinned to place 1"), "a": ("down from 1", ""), "f": ("new", "boosted by 1.5")}
    left, shown = moves(Preview(after, before), layer_of(added), layer_of([]), {"f": tea})
    assert left == {"d": ("left out", "no longer pinned"), "f": ("left out", "no longer boosted")}
    assert shown == {"a": ("up from 3", ""), "c": ("new", "no longer hidden"), "e": ("new", "")}
    assert moves(Preview(before, None), layer_of([]), layer_of([]), {}) == ({}, {})
