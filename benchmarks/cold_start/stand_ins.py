"""Makes stand-ins for the clicks of new users and for the sales of new items."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR, ITEM_ID, USER_KEY
from models.datasets.training_data import TrainingData
from models.primitives.csr import places
from models.primitives.vocabulary import index_of
from models.recommenders.baselines.most_popular import popularity


def latest_items(interactions: pa.Table, keys: NDArray[np.str_], n: int) -> pa.Table:
    """Return `user_key` and `item_id` of the last `n` different items of each user: a newcomer's clicks."""
    own_rows = interactions.take(np.flatnonzero(index_of(keys, interactions[USER_KEY]) >= 0))
    last = own_rows.group_by([USER_KEY, ITEM_ID]).aggregate([("occurred_at", "max")])
    ordered = last.sort_by([(USER_KEY, "ascending"), ("occurred_at_max", "descending"), (ITEM_ID, "ascending")])
    user = index_of(keys, ordered[USER_KEY])
    return ordered.select([USER_KEY, ITEM_ID]).take(np.flatnonzero(places(user) < n))


def category_popularity(data: TrainingData, paths: NDArray[np.str_], half_life_days: float) -> NDArray[np.float32]:
    """Return [n] the decayed baskets per known item of these category paths.

    The mean is over the items of the whole path, or of the nearest level above with sales; 0 without any.
    """
    means = _means(data.item_categories, popularity(data, half_life_days))
    return np.array([_nearest(means, path) for path in paths.tolist()], dtype=np.float32)


def _means(paths: NDArray[np.str_], popularity: NDArray[np.float32]) -> dict[str, float]:
    """Return the mean popularity of the items at or below each level of the category paths."""
    sums: dict[str, list[float]] = {}
    for path, score in zip(paths.tolist(), popularity.tolist(), strict=True):
        for level in _levels(path):
            entry = sums.setdefault(level, [0.0, 0.0])
            entry[0] += score
            entry[1] += 1
    return {level: total / count for level, (total, count) in sums.items()}


def _nearest(means: dict[str, float], path: str) -> float:
    return next((means[level] for level in _levels(path) if level in means), 0.0)


def _levels(path: str) -> list[str]:
    """Yield the path and the levels above it, the most specific first."""
    parts = path.split(CATEGORY_SEPARATOR) if path else []
    return [CATEGORY_SEPARATOR.join(parts[:depth]) for depth in range(len(parts), 0, -1)]
