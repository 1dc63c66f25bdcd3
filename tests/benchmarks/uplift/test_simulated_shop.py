"""Tests that the simulated home page favours no policy, and rewards one that knows what people want."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from benchmarks.heads.simulated_shops import Shop, chances
from benchmarks.uplift.simulated_shop import PLACES, Act, Array, Shown, experiment, shop_with_traits
from benchmarks.uplift.simulation import readouts
from models.datasets.dataset import Dataset
from models.experiments.readout import Readout

SEED = 3
USERS = 1_200
BEST, KNOWS = "best sellers", "knows"


@cache
def shop() -> Shop:
    return shop_with_traits("diy", USERS, SEED)


def best(_: Dataset) -> Shown:
    """Return the items that are the most popular in truth."""
    items = np.argsort(-shop().goods.weight)[:PLACES]

    def shown(_user: int, _at: float, _acts: Sequence[Act]) -> Array:
        return items

    return shown


def knows(_: Dataset) -> Shown:
    """Return what each user wants most, by the law of the shop."""

    def shown(user: int, at: float, acts: Sequence[Act]) -> Array:
        own = shop().bought[user]
        known = own[own[:, 1] < shop().shape.days]
        wish = chances(shop().shape, shop().goods, shop().people[user], known, at)
        wish[[act.item for act in acts if act.bought]] = 0
        return np.argsort(-wish)[:PLACES]

    return shown


def measured(second: str) -> Readout:
    def learn(dataset: Dataset) -> Mapping[str, Shown]:
        return {BEST: best(dataset), KNOWS: knows(dataset), "same": best(dataset)}

    names = (BEST, second)
    group, sums = experiment(shop(), best, learn, names, weeks=2, seed=SEED)
    (found,) = readouts(group, sums, names)
    return found


def test_equal_policies_show_no_difference() -> None:
    found = measured("same")
    assert [change.verdict for change in found.changes] == ["not shown"] * 4
    assert all(check.passed for check in found.checks)


def test_a_policy_that_knows_the_preferences_earns_more() -> None:
    changes = {change.metric: change for change in measured(KNOWS).changes}
    assert changes["click_through"].verdict == "better"
    assert changes["revenue_per_user"].interval.change > 0


def test_the_same_seed_gives_the_same_experiment() -> None:
    group, sums = experiment(shop(), best, lambda data: {BEST: best(data)}, (BEST,), weeks=1, seed=SEED)
    again, others = experiment(shop(), best, lambda data: {BEST: best(data)}, (BEST,), weeks=1, seed=SEED)
    assert (group == again).all()
    assert all((sums[name] == others[name]).all() for name in sums)
