"""Measures feature importance: how far each feature moves the scores of the shown items."""

from typing import Final, NamedTuple

import numpy as np

from models.columns import USER_KEY
from models.evaluation.metrics.bootstrap import Estimate, intervals_of_ratios
from models.evaluation.offline import Evaluation
from models.primitives.vocabulary import index_of, words
from models.recommenders.protocols import BASE_VALUE, Attributes, Recommender

USERS: Final = 50
"""Users whose shown items are examined: the first by key. Keys are pseudonyms, so their order is random."""


class Importance(NamedTuple):
    """The effect of one feature on all shown items."""

    feature: str
    moves: Estimate
    """Mean absolute change of an item's log-odds."""
    adds: float
    """Mean signed change: near 0 if the feature raises some items as much as it lowers others."""


def feature_importance(model: Recommender, evaluation: Evaluation, seed: int) -> list[Importance]:
    """Return the features of a model that explains its scores, the strongest first; empty for other models.

    Only the first ten evaluated places count, without those that the fallback filled. Intervals are by user.
    """
    sample = evaluation.per_user.slice(0, USERS)
    if not isinstance(model, Attributes) or not sample.num_rows:
        return []
    shown = sample["items_at_10"].combine_chunks()
    user = np.repeat(np.arange(sample.num_rows), np.asarray(shown.value_lengths()))
    keys, items = index_of(model.users, words(sample[USER_KEY])), index_of(model.items, words(shown.flatten()))
    names, added = model.attributions(keys[user], items)
    finite = np.isfinite(added).all(axis=1)
    features = np.array([name != BASE_VALUE for name in names])
    added, user = added[finite][:, features].astype(np.float64), user[finite]
    if not len(user):
        return []
    indicator = (np.arange(sample.num_rows)[:, None] == user).astype(np.float64)
    moved, count = indicator @ np.abs(added), np.repeat(indicator.sum(axis=1)[:, None], features.sum(), axis=1)
    low, high = intervals_of_ratios(moved, count, seed)
    figures = zip(
        np.array(names)[features].tolist(), np.abs(added).mean(axis=0), low, high, added.mean(axis=0), strict=True
    )
    weights = [Importance(name, Estimate(*map(float, figure)), float(mean)) for name, *figure, mean in figures]
    return sorted(weights, key=lambda weight: -weight.moves.value)
