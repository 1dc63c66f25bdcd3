import math
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.monitoring.latency_histogram import RequestCounts
from models.monitoring.realised_accuracy import Actions, ShownLists, realised_outcomes

TEN = RequestCounts({0.1: 5, 0.2: 9, inf: 10}, server_errors=1)


def shown(*lists: tuple[int, list[int], float, float]) -> ShownLists:
    users, items, since, until = zip(*lists, strict=True)
    k = max(map(len, items))
    filled = np.array([row + [-1] * (k - len(row)) for row in items], dtype=np.int64)
    return ShownLists(np.array(users), filled, np.array(since, dtype=float), np.array(until, dtype=float))


def acts(*done: tuple[int, int, float]) -> Actions:
    rows = np.array(done, dtype=float).reshape(-1, 3)
    return Actions(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2])


def discount(place: int) -> float:
    return 1 / math.log2(place + 1)


def brute(lists: ShownLists, done: Actions, control: list[int], user: int) -> list[float]:
    k = min(10, lists.items.shape[1])
    best: dict[int, float] = {}
    its: dict[int, float] = {}
    for actor, item, at in zip(*map(np.ndarray.tolist, done), strict=True):
        for owner, items, since, until in zip(*map(np.ndarray.tolist, lists), strict=True):
            if actor == owner == user and since <= at < until:
                own = discount(items[:k].index(item) + 1) if item in items[:k] else 0.0
                best[item] = max(best.get(item, 0.0), own)
                its[item] = discount(control[:k].index(item) + 1) if item in control[:k] else 0.0
    targets = min(k, len(best))
    ideal = sum(discount(place + 1) for place in range(targets))
    row: list[float] = [targets, targets > 0]
    for gains in (best, its):
        hits = min(targets, sum(gain > 0 for gain in gains.values()))
        row += [hits, hits > 0, min(1.0, sum(gains.values()) / ideal) if ideal else 0.0]
    return row


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_counting_act_by_act(seed: int) -> None:
    random = np.random.default_rng(seed)
    spans = [(user, step) for user in range(8) for step in range(random.integers(1, 4))]
    lists = shown(
        *(
            (
                user,
                random.choice(30, size=12, replace=False).tolist(),
                10.0 * step + random.integers(5),
                10.0 * step + 9,
            )
            for user, step in random.permutation(np.array(spans)).tolist()
        )
    )
    done = acts(*((random.integers(8), random.integers(30), random.uniform(0, 40)) for _ in range(300)))
    control = random.choice(30, size=10, replace=False)
    result = np.column_stack(realised_outcomes(lists, done, control))
    assert result == pytest.approx(np.array([brute(lists, done, control.tolist(), user) for user in range(8)]))


def test_a_quantile_lies_within_its_bucket_as_if_answers_were_spread_evenly() -> None:
    assert TEN.quantile(0.5) == 0.1
    assert TEN.quantile(0.25) == 0.05
    assert round(TEN.quantile(0.7), 9) == 0.15
    assert TEN.quantile(0.9) == 0.2
    assert TEN.quantile(0.99) == 0.2  # beyond the last bound nothing is known
    assert isnan(RequestCounts().quantile(0.99))


def test_requests_between_two_looks_are_counted_and_a_restart_begins_at_zero() -> None:
    later = RequestCounts({0.1: 6, 0.2: 10, inf: 20}, server_errors=5)
    assert later.since(TEN) == RequestCounts({0.1: 1, 0.2: 1, inf: 10}, server_errors=4)
    assert later.since(TEN).error_share == 0.4
    assert TEN.since(later) == TEN
    assert later.since(later).count == 0
    assert RequestCounts().error_share == 0


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_of_any_answers_is_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    bounds = [0.01, 0.05, 0.25, 1.0, 5.0, inf]
    seen = RequestCounts({bound: sum(second <= bound for second in seconds) for bound in bounds})
    expected = share * len(seconds)
    true = sorted(seconds)[max(0, -int(-expected // 1) - 1)]
    low, high = max([0.0, *(b for b in bounds if b < true)]), min(b for b in bounds if b >= true)
    assert low - 1e-9 <= seen.quantile(share) <= high + 1e-9


def test_shed_requests_are_no_errors_and_have_a_share_of_their_own() -> None:
    busy = RequestCounts({0.1: 2, 0.2: 2, inf: 10}, server_errors=3, shed=2)
    assert (busy.error_share, busy.shed_share) == (0.1, 0.2)
    assert (TEN + busy).since(TEN) == busy
    assert RequestCounts({inf: 20}, server_errors=5, shed=1).since(busy) == RequestCounts({inf: 20}, 5, 1)
