"""A result is claimed only when it is shown and every check passed."""

import numpy as np
import pytest

from models.experiments.checks import assignment, sample_ratio, single_users
from models.experiments.estimates import Moments
from models.experiments.readout import read
from models.experiments.sequential import limits

SHARES = {"control": 0.5, "tuned": 0.5}


def clicks(share: float, seed: int) -> Moments:
    shown = np.full(3000, 20.0)
    return Moments.of(np.random.default_rng(seed).binomial(20, share, 3000), shown)


def test_a_change_that_is_shown_is_claimed_with_its_bounds() -> None:
    result = read("best sellers", "tuned", {"click-through": (clicks(0.1, 1), clicks(0.12, 2))}, [0.5, 1.0])
    (change,) = result.changes
    assert change.verdict == "better"
    assert change.interval.low < 0.2 < change.interval.high
    assert result.claim.startswith("tuned changed click-through by +")
    assert "against best sellers (between +" in result.claim


def test_no_change_is_claimed_while_none_is_shown() -> None:
    result = read("best sellers", "tuned", {"click-through": (clicks(0.1, 1), clicks(0.1, 2))}, [1.0])
    assert result.claim == "No change of click-through is shown between tuned and best sellers."


def test_early_looks_and_further_metrics_need_more_evidence() -> None:
    groups = clicks(0.1, 1), clicks(0.103, 2)
    one = read("a", "b", {"click-through": groups}, [0.2, 1.0]).changes[0]
    early = read("a", "b", {"click-through": groups}, [0.2]).changes[0]
    several = read("a", "b", dict.fromkeys(("click-through", "orders", "visits"), groups), [0.2, 1.0])
    assert early.limit > several.changes[0].limit > one.limit
    assert several.changes[0].limit == pytest.approx(limits([0.2, 1.0], 0.05 / 3)[-1])


def test_a_failed_check_blocks_the_claim_and_is_named() -> None:
    checks = [sample_ratio({"control": 2000, "tuned": 1700}, SHARES), assignment([0, 1], [0, 1], 2)]
    result = read("control", "tuned", {"clicks": (clicks(0.1, 1), clicks(0.2, 2))}, [1.0], checks)
    assert result.claim == "Nothing can be claimed: sample ratio failed."
    assert "control 2,000 of 1,850, tuned 1,700 of 1,850" in checks[0].detail


def test_a_split_as_planned_passes_whatever_the_shares_are() -> None:
    assert sample_ratio({"control": 905, "tuned": 95}, {"control": 9, "tuned": 1}).passed
    assert sample_ratio({}, SHARES).passed
    assert not sample_ratio({"control": 100}, SHARES).passed


def test_users_of_another_variant_and_robots_are_found() -> None:
    assert not assignment(["tuned"] * 10, ["tuned"] * 9 + ["control"], 10).passed
    assert single_users({"tuned": np.ones(100), "control": np.zeros(0)}).passed
    assert single_users({"tuned": [*np.zeros(900), 9, *np.ones(30)]}).passed, "few users bought by now"
    robot = single_users({"tuned": np.ones(100), "control": [*np.ones(100), 50]})
    assert not robot.passed
    assert "33.3%, in control" in robot.detail
