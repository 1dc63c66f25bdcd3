"""Lists under rules, compared with filling them in one place after the other for one user after the other."""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import models.lists.slot_filling
from models.lists.absence import Absence, Order, reason_of
from models.lists.constrained_selection import Selection, select
from models.lists.rules.compiled_rules import Cap, CompiledRules, ItemAttributes
from models.lists.rules.placement_config import placements
from models.retrieval.candidate_sources import CandidateSource, DenseSource, ScopedSource, TopCandidates

# Few distinct values, so that ties, silence and NaN are common; some become equal only when they are boosted.
VALUES = st.sampled_from([-np.inf, np.nan, -3e38, -1.0, -1e-45, 0.0, 1e-45, 2e-45, 0.5, 0.50000006, 2.0, 3e38, np.inf])
SCORES = VALUES.map(np.float32)
NO_SCORE = np.float32(-np.inf)
N = 40


class Case(NamedTuple):
    scores: Any
    rules: CompiledRules
    hide: Any
    fallback: Any


def catalogues(draw: Any, n: int) -> ItemAttributes:
    def column(values: list[Any]) -> Any:
        return np.array(draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)))

    return ItemAttributes(
        np.array([f"i{item:02}" for item in range(n)], dtype=np.str_),
        column(["", "A", "A|B", "A|B|C", "A|BC", "D|E"]).astype(np.str_),
        column(["", "x", "y", "z"]).astype(np.str_),
        column([np.nan, 1.0, 2.0, 3.0]),
        column([np.nan, 1.0, 100.0]),
        column([True, True, True, False]),
    )


def selectors(n: int) -> Any:
    ids = st.lists(st.integers(0, n).map(lambda item: f"i{item:02}"), min_size=1, max_size=4)
    options = {
        "items": ids,
        "category": st.lists(st.sampled_from(["A", "A|B", "D"]), min_size=1, max_size=2),
        "brand": st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2),
        "price": st.sampled_from([[2, ""], ["", 2], [1, 2]]),
    }
    return st.sampled_from(sorted(options)).flatmap(lambda kind: options[kind].map(lambda entries: {kind: entries}))


def forms(draw: Any, n: int, k: int) -> dict[str, Any]:
    """Rules as people write them."""
    numbers = st.integers(1, 3)
    cap = st.one_of(
        st.fixed_dictionaries({"category": numbers}),
        st.fixed_dictionaries({"brand": numbers}),
        st.fixed_dictionaries({"category": numbers, "brand": numbers}),
    )
    boost = st.tuples(selectors(n), st.sampled_from([0.5, 1.0, 3.0, 1e9, 1e-9])).map(lambda b: {**b[0], "by": b[1]})
    promote = st.tuples(selectors(n), st.sampled_from([0.4, 1.0])).map(lambda p: {**p[0], "share": p[1]})
    entries: dict[str, Any] = {"boost": draw(st.lists(boost, max_size=2))}
    for name, rule in {"include": selectors(n), "exclude": selectors(n), "cap": cap, "promote": promote}.items():
        if draw(st.booleans()) and (name != "promote" or k >= 3):
            entries[name] = draw(rule)
    free = k - int(entries["promote"]["share"] * k + 1e-9) if "promote" in entries else k
    places = draw(st.permutations(range(1, k + 1)))[: draw(st.integers(0, min(free, 3)))]
    items = draw(st.permutations(range(n + 3)))
    entries["pin"] = [{"item": f"i{item:02}", "place": place} for item, place in zip(items, places, strict=False)]
    return entries


@st.composite
def cases(draw: Any) -> Case:
    m, n, k = draw(st.integers(0, 5)), draw(st.integers(1, 16)), draw(st.integers(1, 10))
    catalogue = catalogues(draw, n)
    placement = placements({"home": {"k": k, "rules": forms(draw, n, k)}})["home"]
    scores = draw(hnp.arrays(np.float32, (m, n), elements=SCORES))
    fallback = draw(st.none() | hnp.arrays(np.float32, n, elements=SCORES))
    return Case(scores, CompiledRules.of(placement, catalogue), draw(hnp.arrays(bool, (m, n))), fallback)


@dataclass
class OneList:
    """One user's list, filled in place by place."""

    rules: CompiledRules
    places: dict[int, int] = field(default_factory=dict)
    counts: list[Counter[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [Counter() for _ in self.rules.caps]

    def may_have(self, item: int) -> bool:
        groups = [
            (int(cap.group[item]), cap.most, count) for cap, count in zip(self.rules.caps, self.counts, strict=True)
        ]
        within = all(group < 0 or count[group] < most for group, most, count in groups)
        return within and item not in self.places.values()

    def put(self, place: int, item: int) -> None:
        self.places[place] = item
        for cap, count in zip(self.rules.caps, self.counts, strict=True):
            count[int(cap.group[item])] += 1

    def put_first(self, place: int, order: list[int]) -> None:
        result = next((item for item in order if self.may_have(item)), None)
        if place not in self.places and result is not None:
            self.put(place, result)


def with_boost(score: np.float32, by: np.float32) -> np.float32:
    if not score > -np.inf or by == 1:
        return score if score > -np.inf else NO_SCORE
    with np.errstate(over="ignore", under="ignore"):
        return max(score * by if score >= 0 else score / by, np.finfo(np.float32).min)


def brute_force(case: Case) -> list[list[tuple[int, float, bool]]]:
    """Of each user the items of the list, their scores, and whether the fallback filled them in."""
    scores, rules, hide, fallback = case
    entries = np.full(len(rules.allowed), np.nan, np.float32) if fallback is None else fallback
    otherwise = [score if score > -np.inf else NO_SCORE for score in entries]
    lists = []
    for row in range(len(scores)):
        usable = [item for item in range(len(rules.allowed)) if rules.allowed[item] and not hide[row, item]]
        own = [with_boost(score, by) for score, by in zip(scores[row], rules.boost, strict=True)]
        order = sorted((item for item in usable if own[item] > -np.inf), key=lambda item: (-own[item], item))
        if fallback is not None:
            unscored = (item for item in usable if not own[item] > -np.inf)
            order += sorted(unscored, key=lambda item: (-otherwise[item], item))
        made = OneList(rules)
        for place, item in rules.pins:
            if item in usable and made.may_have(item):
                made.put(place, item)
        for place in rules.promoted_places:
            made.put_first(place, [item for item in order if rules.promoted[item]])
        for place in range(rules.k):
            made.put_first(place, order)
        items = [made.places[place] for place in sorted(made.places)]
        lists.append([(i, float(own[i] if own[i] > -np.inf else otherwise[i]), not own[i] > -np.inf) for i in items])
    return lists


def chosen(case: Case, shelf: CandidateSource | None = None) -> Selection:
    hide = sparse.csr_array(case.hide)
    return select(shelf or DenseSource(case.scores), len(case.scores), case.rules, hide, case.fallback)


def same(one: Selection, other: Selection) -> None:
    for remaining, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(remaining, right)


@given(cases())
def test_lists_are_those_of_filling_place_after_place(case: Case) -> None:
    before = case.scores.copy()
    selected, expected, k = chosen(case), brute_force(case), case.rules.k
    kinds = [entries.dtype for entries in selected]
    assert kinds == [np.int32, np.float32, bool, bool]
    assert selected.items.shape == selected.scores.shape == selected.from_fallback.shape == (len(case.scores), k)
    for row, made in enumerate(expected):
        others = k - len(made)
        assert selected.items[row].tolist() == [item for item, _, _ in made] + [-1] * others
        assert selected.scores[row].tolist() == [score for _, score, _ in made] + [-np.inf] * others
        assert selected.from_fallback[row].tolist() == [filled for _, _, filled in made] + [False] * others
        assert selected.short[row] == (others > 0)
    np.testing.assert_array_equal(case.scores, before)


@given(cases(), st.integers(1, 3))
def test_lists_are_the_same_whatever_the_chunks_and_the_sizes_of_blocks(case: Case, size: int) -> None:
    whole = chosen(case)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_CELLS": 5, "_PILOT": 1, "_GROWTH": 2, "_MARKS": 1, "_STRIP": 2}.items():
            patch.setattr(models.lists.slot_filling, name, value)
        same(chosen(case), whole)
        for start in range(0, len(case.scores), size):
            part = slice(start, start + size)
            chunk = chosen(case._replace(scores=case.scores[part], hide=case.hide[part]))
            same(chunk, Selection(*(entries[part] for entries in whole)))


@dataclass
class Counting:
    """A shelf that remembers what it was asked."""

    scores: Any
    asked: list[tuple[list[int], int]] = field(default_factory=list)

    def restrict_to(self, items: Any) -> ScopedSource:
        return CountingSource(DenseSource(self.scores).restrict_to(items), self.asked)


@dataclass
class CountingSource:
    source: ScopedSource
    asked: list[tuple[list[int], int]]

    def fetch(self, rows: Any, n: int) -> TopCandidates:
        self.asked.append((rows.tolist(), n))
        return self.source.fetch(rows, n)


def everything(n: int, k: int, **entries: Any) -> CompiledRules:
    return replace(CompiledRules.plain(k, np.ones(n, dtype=bool)), **entries)


def test_one_question_is_enough_for_what_is_hidden_wherever_it_stands() -> None:
    random = np.random.default_rng(0)
    scores = random.random((200, 5000), dtype=np.float32)
    hide = np.zeros((200, 5000), dtype=bool)
    hide[np.arange(200)[:, None], np.argsort(-scores, axis=1)[:, :30]] = True
    shelf = Counting(scores)
    chosen(Case(scores, everything(5000, 50), hide, None), shelf)
    assert shelf.asked == [(list(range(200)), 81)]


def test_only_lists_that_are_not_certain_look_deeper_and_no_deeper_than_they_must() -> None:
    scores = np.random.default_rng(0).random((40, 10_000), dtype=np.float32)
    group = np.full(10_000, -1, dtype=np.int32)
    # The best 300 of one user are of one kind.
    group[np.argsort(-scores[3])[:300]] = 0
    shelf = Counting(scores)
    rules = everything(10_000, 10, caps=(Cap(group, 2),))
    selected = chosen(Case(scores, rules, np.zeros(scores.shape, dtype=bool), None), shelf)
    assert not selected.short.any()
    assert shelf.asked == [(list(range(40)), 11), ([3], 44), ([3], 176), ([3], 704)]


def test_zeros_that_a_matrix_stores_hide_nothing() -> None:
    hide = sparse.csr_array((np.array([True, False]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    assert select(DenseSource(np.ones((1, 2), dtype=np.float32)), 1, everything(2, 2), hide).items.tolist() == [[1, -1]]
    assert hide.nnz == 2


def test_nobody_and_nothing_are_no_errors() -> None:
    nobody = select(
        DenseSource(np.empty((0, 3), np.float32)), 0, everything(3, 2, pins=((0, 1),)), None, np.ones(3, np.float32)
    )
    assert nobody.items.shape == (0, 2)
    no_items = select(DenseSource(np.empty((2, 0), np.float32)), 2, everything(0, 2), None, np.empty(0, np.float32))
    assert no_items.items.tolist() == [[-1, -1]] * 2
    assert no_items.short.all()


def rules_of(random: np.random.Generator, k: int) -> CompiledRules:
    category, brand = random.integers(-1, 4, N).astype(np.int32), random.integers(-1, 5, N).astype(np.int32)
    pins = tuple((place, int(item)) for place, item in zip((1, 4), random.permutation(N), strict=False))
    return CompiledRules(
        k=k,
        allowed=random.random(N) < 0.8,
        boost=random.choice([0.5, 1, 3], N).astype(np.float32),
        caps=(Cap(category, 2), Cap(brand, 3)),
        promoted=random.random(N) < 0.2,
        promoted_places=(2, 5),
        pins=pins,
    )


@pytest.mark.parametrize(("seed", "k"), product(range(5), (6, 10)))
def test_an_item_was_no_candidate_exactly_if_it_would_be_listed_without_being_hidden(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    rules = rules_of(random, k)
    scores = random.normal(size=N).round(1).astype(np.float32)
    scores[random.random(N) < 0.2] = -np.inf
    fallback = random.integers(0, 9, N).astype(np.float32)
    hidden = random.random(N) < 0.25

    def listed(hide: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        items = select(DenseSource(scores[None]), 1, rules, sparse.csr_array(hide[None]), fallback).items[0]
        return items[items >= 0]

    shown, order = listed(hidden), Order.of(scores, fallback, rules)
    for item in np.setdiff1d(np.arange(N), shown).tolist():
        result, without = reason_of(item, shown, order, rules), hidden.copy()
        without[item] = False
        assert (result.why is Absence.NO_CANDIDATE) == (item in listed(without)), result
        assert (result.why is Absence.NOT_ALLOWED) == (not rules.allowed[item])
        if result.cap is not None:
            assert (result.cap.group[shown] == result.cap.group[item]).sum() >= result.cap.most


def test_an_item_behind_a_full_list_has_its_place_by_score() -> None:
    plain = CompiledRules.plain(2, np.ones(4, dtype=bool))
    order = Order.of(np.array([4, 3, 2, 1], dtype=np.float32), np.zeros(4, dtype=np.float32), plain)
    shown = np.array([0, 2], dtype=np.int32)
    assert reason_of(1, shown, order, plain).why is Absence.NO_CANDIDATE
    late = reason_of(3, shown, order, plain)
    assert (late.why, late.place) == (Absence.FULL, 4)
