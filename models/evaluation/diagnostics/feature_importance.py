"""What a model's answers hang on: how far each feature moves the score of what people are shown."""

from typing import Final, NamedTuple

import numpy as np

from models.columns import USER_KEY
from models.evaluation.metrics.bootstrap import Estimate, intervals_of_ratios
from models.evaluation.offline import Evaluation
from models.primitives.vocabulary import index_of, words
from models.recommenders.protocols import BASE_VALUE, Attributes, Recommender

USERS: Final = 50
"""Of so many users what they are shown is looked at: the first by key. Keys are pseudonyms, in an order that means
nothing."""


class Importance(NamedTuple):
    """One feature over all that is shown."""

    feature: str
    moves: Estimate
    """Mean of how far it moves the log-odds of an item, up or down."""
    adds: float
    """Mean of what it adds: near 0 where it lifts some items as much as it lowers others."""


def feature_importance(model: Recommender, evaluation: Evaluation, seed: int) -> list[Importance]:
    """The features of a model that explains its scores, the strongest first; nothing for other models.

    Looked at are the first ten places as they were evaluated, less those that the fallback filled. Intervals are by
    user.
    """
    some = evaluation.per_user.slice(0, USERS)
    if not isinstance(model, Attributes) or not some.num_rows:
        return []
    shown = some["items_at_10"].combine_chunks()
    user = np.repeat(np.arange(some.num_rows), np.asarray(shown.value_lengths()))
    keys, items = index_of(model.users, words(some[USER_KEY])), index_of(model.items, words(shown.flatten()))
    names, added = model.attributions(keys[user], items)
    told = np.isfinite(added).all(axis=1)
    features = np.array([name != BASE_VALUE for name in names])
    added, user = added[told][:, features].astype(np.float64), user[told]
    if not len(user):
        return []
    one = (np.arange(some.num_rows)[:, None] == user).astype(np.float64)
    moved, count = one @ np.abs(added), np.repeat(one.sum(axis=1)[:, None], features.sum(), axis=1)
    low, high = intervals_of_ratios(moved, count, seed)
    found = zip(
        np.array(names)[features].tolist(), np.abs(added).mean(axis=0), low, high, added.mean(axis=0), strict=True
    )
    weights = [Importance(name, Estimate(*map(float, figure)), float(mean)) for name, *figure, mean in found]
    return sorted(weights, key=lambda weight: -weight.moves.value)
