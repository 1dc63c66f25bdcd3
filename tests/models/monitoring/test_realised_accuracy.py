import math

import numpy as np
import pytest

from models.monitoring.realised_accuracy import Actions, ShownLists, realised_outcomes


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


def test_purchases_while_the_list_was_shown_are_compared_with_it_and_with_the_control() -> None:
    result = realised_outcomes(
        shown((0, [5, 6, 7], 10, 20), (1, [5, 6, 7], 10, 20)),
        acts((0, 6, 12), (0, 9, 13), (0, 6, 14), (1, 8, 15)),
        np.array([8, 9, 1]),
    )
    assert result.targets.tolist() == [2, 1]
    assert result.hits.tolist() == [1, 0]
    assert result.hit.tolist() == [1, 0]
    assert result.control_hits.tolist() == [1, 1]
    assert result.ndcg == pytest.approx([discount(2) / (discount(1) + discount(2)), 0])
    assert result.control_ndcg == pytest.approx([discount(2) / (discount(1) + discount(2)), 1])


def test_no_figure_is_above_one_however_many_lists_there_were() -> None:
    lists = shown(*((0, [n], float(n), n + 1.0) for n in range(12)))
    result = realised_outcomes(lists, acts(*((0, n, n + 0.5) for n in range(12))), np.array([0]))
    assert (result.targets.tolist(), result.hits.tolist(), result.ndcg.tolist()) == ([1], [1], [1])


def test_users_who_bought_nothing_are_there_with_zeros() -> None:
    result = realised_outcomes(shown((0, [5], 0, 9), (1, [5], 0, 9)), acts((0, 5, 1)), np.array([], dtype=np.int64))
    assert result.acted.tolist() == [1, 0]
    assert result.hit.tolist() == [1, 0]
    assert result.control_hit.tolist() == [0, 0]
    empty = realised_outcomes(shown((0, [5], 0, 9)), acts(), np.array([5]))
    assert empty.targets.tolist() == [0]


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
