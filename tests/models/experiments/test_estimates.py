"""Differences of variants are those of other software, and of a recount."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from models.experiments.estimates import Moments, difference

SIZES = st.integers(2, 30)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def test_means_have_the_p_value_of_welchs_test(random: np.random.Generator) -> None:
    control, variant = random.exponential(2.0, 40), random.exponential(3.0, 25)
    found = difference(Moments.of(control), Moments.of(variant))
    p = 2 * stats.norm.sf(abs(found.z))
    assert p == pytest.approx(stats.ttest_ind(variant, control, equal_var=False).pvalue, rel=1e-9)
    assert (found.control, found.variant, found.variance_cut) == (control.mean(), variant.mean(), 0.0)


def test_a_ratio_is_the_mean_of_its_linearised_users(random: np.random.Generator) -> None:
    shown = random.poisson(20, 500) + 1.0
    clicks = random.binomial(shown.astype(int), 0.1).astype(float)
    found = difference(Moments.of(clicks, shown), Moments.of(clicks, shown))
    ratio = clicks.sum() / shown.sum()
    linear = (clicks - ratio * shown) / shown.mean() + ratio
    assert found.variant == pytest.approx(linear.mean())
    assert found.errors[1] == pytest.approx(linear.std(ddof=1) / np.sqrt(len(linear)))


@given(SIZES.flatmap(lambda n: arrays(np.float64, (4, n), elements=st.floats(0.5, 100))), SIZES)
def test_moments_of_two_groups_add_up_to_those_of_all_their_users(rows: np.ndarray, cut: int) -> None:
    rows = np.hstack([rows, rows[:, ::-1] + 1])  # at least two users on either side
    cut = min(cut, rows.shape[1] - 2)
    both, parts = Moments.of(*rows), Moments.of(*rows[:, :cut]) + Moments.of(*rows[:, cut:])
    assert parts.users == both.users
    np.testing.assert_allclose(parts.means, both.means)
    np.testing.assert_allclose(parts.covariance, both.covariance, atol=1e-6)


def test_earlier_acts_of_users_take_away_the_variance_that_they_explain(random: np.random.Generator) -> None:
    before = random.exponential(10.0, (2, 4000))
    after = 0.7 * before + random.normal(5.0, 2.0, (2, 4000))
    after[1] += 0.3
    groups = [Moments.of(now, before=earlier) for now, earlier in zip(after, before, strict=True)]
    found = difference(*groups)
    correlation = np.corrcoef(after[0], before[0])[0, 1]
    assert found.variance_cut == pytest.approx(correlation**2, abs=0.02)
    assert abs(found.variant - found.control - 0.3) < 3 * found.error
    plain = difference(Moments.of(after[0]), Moments.of(after[1]))
    assert abs(found.z) > 2 * abs(plain.z) or found.error < plain.error / 2


def test_groups_in_the_other_order_have_the_inverse_quotient(random: np.random.Generator) -> None:
    one, other = (Moments.of(random.exponential(2.0, 300)) for _ in range(2))
    forth, back = difference(one, other).interval(2.0), difference(other, one).interval(2.0)
    assert (1 + forth.change) * (1 + back.change) == pytest.approx(1)
    assert (1 + forth.low) * (1 + back.high) == pytest.approx(1)
    assert forth.low < forth.change < forth.high


def test_metrics_that_are_not_positive_and_users_who_are_all_alike_state_no_change() -> None:
    nothing, some = Moments.of([0.0, 0.0, 0.0]), Moments.of([1.0, 2.0, 3.0])
    change = difference(nothing, some).interval(1.96)
    assert np.isnan(change.change)
    assert (change.low, change.high) == (-np.inf, np.inf)
    assert difference(Moments.of([1.0, 1.0]), Moments.of([1.0, 1.0])).z == 0
