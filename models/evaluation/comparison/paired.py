"""Compares two models user by user."""

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.metrics.bootstrap import Estimate, interval
from models.evaluation.offline import Evaluation
from models.primitives.vocabulary import index_of, words


def paired(one: Evaluation, other: Evaluation, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the metrics of both models for each user of `one`; NaN for users without a metric.

    Return None if the other model was not measured on all of these users, or if both have metrics for different users,
    or for none.
    """
    positions = index_of(words(other.per_user[USER_KEY]), one.per_user[USER_KEY])
    if len(positions) == 0 or (positions < 0).any():
        return None
    own, theirs = figures(one, metric), figures(other, metric)[positions]
    known = np.isfinite(own)
    return (own, theirs) if known.any() and np.array_equal(known, np.isfinite(theirs)) else None


def differences(one: Evaluation, other: Evaluation, metric: str) -> NDArray[np.float64] | None:
    """Return `one` less the other, per user with a metric; None if they cannot be compared."""
    both = paired(one, other, metric)
    return None if both is None else (both[0] - both[1])[np.isfinite(both[0])]


def gain(one: Evaluation, other: Evaluation, metric: str, seed: int) -> Estimate | None:
    """Return the mean difference and its paired bootstrap interval; None if the models cannot be compared."""
    gained = differences(one, other, metric)
    return None if gained is None else Estimate(float(gained.mean()), *interval(gained, seed))


def figures(evaluation: Evaluation, metric: str) -> NDArray[np.float64]:
    """Return a metric per user; NaN if missing."""
    column = evaluation.per_user[metric].cast("float64")
    return np.asarray(column.to_numpy(), dtype=np.float64)
