"""Rules of operators: on placements, on lists that were made before, and as factors."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lists.list_builder import lists_of_scores
from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes
from models.lists.rules.layer.rule_layer import (
    NO_RULES,
    BoostKind,
    HiddenItem,
    ItemBoost,
    PinnedItem,
    Ranked,
    RuleChange,
    RuleLayer,
    attributed,
    layer_from_json,
    layer_to_json,
    layered,
    pins,
    reranked,
    words,
)
from models.lists.rules.layer.validation import MOST_RULES, conflicts, faults
from models.lists.rules.placement_config import Placement, placements, sentences
from models.recommenders.explanations.sentences import PICKED

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
ITEMS = np.array([f"i{number:02}" for number in range(12)])
GOODS = ItemAttributes(
    ITEMS,
    np.array(["TEA", "COFFEE"] * 6),
    np.array(["acme"] * 12),
    np.full(12, np.nan),
    np.full(12, np.nan),
    np.ones(12, dtype=bool),
)
SHELF = Placement(k=12)
names = st.sampled_from(ITEMS.tolist())
PLACEMENTS = {"home": Placement(k=3), "email": Placement(k=2)}


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


@st.composite
def layers(draw: Any) -> RuleLayer:
    hidden = draw(st.lists(names, max_size=2, unique=True))
    pinned = draw(st.dictionaries(st.integers(1, 12), names.filter(lambda name: name not in hidden), max_size=2))
    boosted = draw(st.dictionaries(st.sampled_from(["i01", "i05", "i09"]), st.sampled_from([0.3, 3.0]), max_size=2))
    tea = draw(st.sampled_from([1.0, 2.0]))
    boosts = [ItemBoost(placement="home", kind="item", value=item, factor=by) for item, by in boosted.items()]
    boosts.append(ItemBoost(placement="home", kind="category", value="TEA", factor=tea))
    places = {item: place for place, item in pinned.items()}
    return RuleLayer(
        tuple(PinnedItem(placement="home", item=item, place=place) for item, place in places.items()),
        tuple(HiddenItem(item=item) for item in hidden),
        tuple(boosts),
    )


def made(scores: np.ndarray, layer: RuleLayer) -> list[Ranked]:
    """Return the list that a builder makes under a layer."""
    rules = CompiledRules.of(layered(SHELF, layer), GOODS)
    found = lists_of_scores(scores[None], rules, None)
    pairs = zip(found.items[0].tolist(), found.stated[0].tolist(), strict=True)
    return [(str(ITEMS[item]), score, "why") for item, score in pairs if item >= 0]


def factor_of(layer: RuleLayer, item: str) -> float:
    return float(CompiledRules.of(layered(SHELF, layer), GOODS).boost[ITEMS.tolist().index(item)])


def change(then: RuleLayer, now: RuleLayer) -> RuleChange:
    return RuleChange(
        {pin.item: pin.place for pin in pins(SHELF, then)},
        {pin.item: pin.place for pin in pins(SHELF, now)},
        lambda item: factor_of(now, item) / factor_of(then, item),
    )


@given(
    scores=st.lists(st.floats(-5, 5, width=16).filter(lambda x: abs(x) > 0.01), min_size=12, max_size=12, unique=True),
    now=layers(),
)
def test_a_list_made_without_rules_gets_the_order_of_the_list_made_under_them(scores: list[float], now: Any) -> None:
    wanted = made(np.float32(scores), now)
    whole = [entry for entry in made(np.float32(scores), NO_RULES) if entry[0] not in now.hidden]
    found = reranked(whole, change(NO_RULES, now))
    assert [entry[0] for entry in found] == [entry[0] for entry in wanted]


@given(
    scores=st.lists(st.floats(-5, 5, width=16).filter(lambda x: abs(x) > 0.01), min_size=12, max_size=12, unique=True),
    then=layers(),
)
def test_an_undone_layer_leaves_no_trace_but_what_it_hid(scores: list[float], then: RuleLayer) -> None:
    plain = [entry[0] for entry in made(np.float32(scores), NO_RULES) if entry[0] not in then.hidden]
    found = reranked(made(np.float32(scores), then), change(then, NO_RULES))
    assert [entry[0] for entry in found] == plain


def test_a_new_pin_enters_a_list_only_where_the_visitor_may_have_it() -> None:
    listed = [("a", 0.9, "x"), ("b", 0.8, "y"), ("c", 0.7, "z")]
    pinned = RuleChange({}, {"new": 2}, lambda _: 1.0)
    assert reranked(listed, pinned) == listed
    assert reranked(listed, pinned, {"new"}) == [listed[0], ("new", 0.0, PICKED), *listed[1:]]


def test_a_pin_that_only_operators_wanted_leaves_with_its_rule() -> None:
    listed = [("new", 0.0, PICKED), ("a", 0.9, "x"), ("b", 0.8, "y")]
    assert reranked(listed, RuleChange({"new": 1}, {}, lambda _: 1.0)) == listed[1:]


def test_best_sellers_behind_the_models_items_stay_behind_them() -> None:
    listed = [("a", 0.9, "x"), ("b", 0.8, "y"), ("c", 250.0, "sold"), ("d", 240.0, "sold")]
    boosted = reranked(listed, RuleChange({}, {}, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0}.__getitem__))
    assert [entry[0] for entry in boosted] == ["a", "b", "d", "c"]


def test_a_pin_beyond_the_end_of_a_short_list_comes_last() -> None:
    listed = [("a", 0.9, "x"), ("b", 0.8, "y"), ("c", 0.7, "z")]
    found = reranked(listed, RuleChange({}, {"a": 4, "new": 9}, lambda _: 1.0), {"new"})
    assert [entry[0] for entry in found] == ["b", "c", "a", "new"]


def test_a_page_holds_the_pins_of_its_places() -> None:
    page = [("d", 0.6, "x"), ("e", 0.5, "y")]
    pinned = RuleChange({}, {"e": 1, "new": 4, "f": 9}, lambda _: 1.0)
    assert [entry[0] for entry in reranked(page, pinned, {"new", "f"}, range(3, 5))] == ["d", "new"]


PATHS = ["", "A", "A|B", "A|B|C", "AB", "A|", "B"]
MANY = ItemAttributes(
    np.array([f"i{number:02}" for number in range(14)]),
    np.array(PATHS * 2),
    np.array(["", "acme"] * 7),
    np.full(14, np.nan),
    np.full(14, np.nan),
    np.ones(14, dtype=bool),
)
VALUES = {"item": ["i00", "i05", "gone"], "category": ["A", "A|B", "A|B|C", "AB"], "brand": ["acme", "other"]}
boosts = st.sampled_from(sorted(VALUES)).flatmap(
    lambda kind: st.builds(
        ItemBoost,
        placement=st.just("home"),
        kind=st.just(kind),
        value=st.sampled_from(VALUES[kind]),
        factor=st.sampled_from([0.5, 1.0, 3.0]),
    )
)


@given(st.lists(boosts, max_size=6))
def test_look_ups_give_the_product_of_all_boosts_that_apply(chosen: list[ItemBoost]) -> None:
    layer = RuleLayer(boosts=tuple(chosen))
    compiled = CompiledRules.of(layered(Placement(k=5), layer), MANY).boost.tolist()
    rows = zip(*(column.tolist() for column in (MANY.items, MANY.category, MANY.brand)), strict=True)
    assert [layer.factors.factor(*row) for row in rows] == pytest.approx(compiled)


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
        (RuleLayer((pin("unheard"),)), "/pins/0/item"),
        (RuleLayer((pin(place=4),)), "/pins/0/place"),
        (RuleLayer((pin("a", 1), pin("b", 1))), "/pins/1/place"),
        (RuleLayer((pin("a", 1), pin("a", 2))), "/pins/1/item"),
        (RuleLayer((pin("a"),), (HiddenItem(item="a"),)), "/pins/0/item"),
        (RuleLayer((pin("a"),), (HiddenItem(item="a", placement="home"),)), "/pins/0/item"),
        (RuleLayer((), (HiddenItem(item="a"), HiddenItem(item="a"))), "/hides/1/item"),
        (RuleLayer((), (), (boost(factor=0.001),)), "/boosts/0/factor"),
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


STATED = placements(
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
        (RuleLayer((pin("a", 2), pin("c", 3))), "the file promotes items in 1"),
        (RuleLayer((), (HiddenItem(item="c"),)), "the file pins it to place 1"),
        (RuleLayer((), (), (boost(),)), "the file boosts it by 0.5"),
        (RuleLayer((), (), (boost("item", "b"),)), "the boost has no effect"),
        (RuleLayer((pin(placement="old"),)), "no such placement"),
    ],
    ids=str,
)
def test_each_conflict_with_the_file_is_stated(layer: RuleLayer, detail: str) -> None:
    found = conflicts(STATED, layer, goods())
    (stated,) = [one for one in found if detail in one.detail]
    assert stated.rule is None or stated.rule in list(layer)


def test_a_pin_of_an_item_that_the_champion_does_not_have_is_a_conflict_of_this_pin() -> None:
    layer = RuleLayer((pin("a", 2), pin("c", 1)))
    (found,) = conflicts(STATED, layer, goods(), np.array(["c"]))
    assert found.rule is layer.pins[0]
    assert "newer than the champion; until the next training no list is made with it" in found.detail
    assert [layer.place_of(rule) for rule in layer] == ["/pins/0", "/pins/1"]


def test_rules_that_fit_the_file_have_no_conflict() -> None:
    assert conflicts(STATED, RuleLayer((pin("a", 2),), (HiddenItem(item="d"),), ()), goods()) == []
