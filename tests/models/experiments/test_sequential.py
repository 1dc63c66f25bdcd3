"""Limits of group-sequential tests are the published ones, and keep the error of all looks together."""

import numpy as np
import pytest
from scipy import stats

from models.experiments.sequential import limits, spent


def test_five_equal_looks_have_the_published_limits() -> None:
    """Two-sided, 5 %, the spending function like O'Brien and Fleming's: Jennison and Turnbull (2000), WinLD."""
    assert limits([0.2, 0.4, 0.6, 0.8, 1.0]) == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)


def test_one_look_at_the_end_is_a_plain_test() -> None:
    assert limits([1.0], 0.01) == pytest.approx([stats.norm.isf(0.005)])
    assert spent(1.0, 0.02) == pytest.approx(0.02)


def test_chance_leaves_the_limits_of_daily_looks_as_often_as_was_planned() -> None:
    days = np.arange(1, 29) / 28
    steps = np.random.default_rng(5).normal(size=(100_000, 28)) / np.sqrt(28)
    leaves = (abs(steps.cumsum(axis=1) / np.sqrt(days)) >= limits([*days], 0.05)).any(axis=1)
    assert leaves.mean() == pytest.approx(0.05, abs=0.0025)


def test_the_first_looks_of_a_plan_do_not_depend_on_later_ones() -> None:
    assert limits([0.3, 0.5]) == pytest.approx(limits([0.3, 0.5, 1.0])[:2])


@pytest.mark.parametrize("fractions", [[], [0.0, 1.0], [0.5, 0.5], [0.5, 1.1]])
def test_fractions_that_do_not_ascend_are_refused(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="fractions ascend"):
        limits(fractions)
