"""Two models on the same users: what one gains over the other, user by user."""

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.metrics.bootstrap import Estimate, interval
from models.evaluation.offline import Evaluation
from models.primitives.vocabulary import index_of, words


def paired(one: Evaluation, other: Evaluation, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The figures of both for each user of `one`, NaN for users of whom neither has any.

    None when the other was not measured on one of the users, or only one of them has a figure, or nobody has.
    """
    positions = index_of(words(other.per_user[USER_KEY]), one.per_user[USER_KEY])
    if len(positions) == 0 or (positions < 0).any():
        return None
    own, theirs = figures(one, metric), figures(other, metric)[positions]
    known = np.isfinite(own)
    return (own, theirs) if known.any() and np.array_equal(known, np.isfinite(theirs)) else None


def differences(one: Evaluation, other: Evaluation, metric: str) -> NDArray[np.float64] | None:
    """What `one` has more than the other, per user with a figure; None when they cannot be compared."""
    both = paired(one, other, metric)
    return None if both is None else (both[0] - both[1])[np.isfinite(both[0])]


def gain(one: Evaluation, other: Evaluation, metric: str, seed: int) -> Estimate | None:
    """The mean difference and its interval by paired bootstrap; None when they cannot be compared."""
    gained = differences(one, other, metric)
    return None if gained is None else Estimate(float(gained.mean()), *interval(gained, seed))


def figures(evaluation: Evaluation, metric: str) -> NDArray[np.float64]:
    """A metric of each user; NaN where there is none."""
    column = evaluation.per_user[metric].cast("float64")
    return np.asarray(column.to_numpy(), dtype=np.float64)
