"""Why an item is not on a list, against lists that the selection makes."""

from itertools import product

import numpy as np
import pytest
from scipy import sparse

from models.lists.absence import Absence, Order, reason_of
from models.lists.constrained_selection import select
from models.lists.rules.compiled_rules import Cap, CompiledRules
from models.retrieval.candidate_sources import DenseSource

N = 40


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
