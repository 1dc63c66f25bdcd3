import warnings

import numpy as np
import pytest
from scipy import stats

from models.evaluation.metrics.bootstrap import draws, estimate, interval, intervals, intervals_of_ratios


def test_every_sample_has_as_many_users_as_there_are() -> None:
    counts = np.concatenate(list(draws(7, seed=1, samples=50)))
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert len(np.unique(counts, axis=0)) > 40


def test_intervals_are_those_of_scipy() -> None:
    values = np.random.default_rng(3).gamma(2, 1, (400, 3))
    result = intervals(values, seed=7)
    for column in range(3):
        other = stats.bootstrap((values[:, column],), np.mean, n_resamples=20_000, method="percentile", rng=1)
        spread = other.standard_error
        assert result[:, column] == pytest.approx(list(other.confidence_interval), abs=0.2 * spread)


def test_ratios_are_those_of_scipys_pairs() -> None:
    random = np.random.default_rng(3)
    below = random.integers(1, 20, 300).astype(float)
    above = random.binomial(below.astype(int), 0.3).astype(float)
    result = intervals_of_ratios(above[:, None], below[:, None], seed=7)[:, 0]
    other = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        n_resamples=20_000,
        method="percentile",
        paired=True,
        rng=1,
    )
    assert result == pytest.approx(list(other.confidence_interval), abs=0.2 * other.standard_error)


def test_users_without_a_figure_do_not_count() -> None:
    values = np.array([[1.0, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = intervals(values, seed=0)
    assert result[:, 0].tolist() == [1, 1]
    assert np.isnan(result[:, 1]).all()
    assert np.isnan(intervals(np.empty((0, 2)), seed=0)).all()


def test_a_figure_that_repeats_pull_down_stays_inside_its_interval() -> None:
    shown = np.eye(50)  # every user sees another item, so a sample of users never shows all of them
    result = estimate(lambda drawn: ((drawn @ shown) > 0).mean(axis=1), 50, seed=0)
    assert result.value == 1
    assert result.low < 1 < result.high
    assert result.high - result.low < 0.25


def test_the_same_seed_gives_the_same_interval_and_blocks_change_nothing_in_size() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 5000)
    assert interval(differences, 7) == interval(differences, 7)
    assert interval(differences, 7) != interval(differences, 8)
    low, high = interval(differences, 7)
    assert (high - low) / 2 == pytest.approx(1.96 * differences.std() / np.sqrt(5000), rel=0.1)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(5)
    intervals = [interval(random.exponential(1, 200) - 1, seed) for seed in range(300)]
    assert 0.90 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.98
