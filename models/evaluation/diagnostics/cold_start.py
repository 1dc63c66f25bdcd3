"""Newcomers in the held-out weeks: training data that stand for users or items without any history."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns import AVAILABLE, CATEGORY, CATEGORY_SEPARATOR, ITEM_ID, TITLE, USER_KEY
from models.datasets.cold_start import Extended
from models.datasets.training_data import TrainingData
from models.primitives.csr import places
from models.primitives.vocabulary import index_of, words
from models.recommenders.baselines.most_popular import popularity


def of_strangers(data: TrainingData, traits: pa.Table) -> TrainingData:
    """The same moment and items, with the users of `traits` (`user_key` and traits), who have no history."""
    ordered = traits.sort_by(USER_KEY)
    return replace(
        data, users=words(ordered[USER_KEY]), user_tags=data.user_tag_rules.encode(ordered), **_without_events()
    )


def of_new_items(data: TrainingData, catalogue: pa.Table) -> TrainingData:
    """The same moment and users, with those items of the catalogue alone that have no history: nobody's answer yet."""
    new = Extended.of(data.items, catalogue).rows
    return replace(
        data,
        items=words(new[ITEM_ID]),
        item_tags=data.item_tag_rules.encode(new),
        item_titles=words(new[TITLE]),
        item_categories=words(new[CATEGORY]),
        available=np.asarray(new[AVAILABLE].fill_null(True), dtype=bool),
        **_without_events(),
    )


def latest_items(interactions: pa.Table, keys: NDArray[np.str_], n: int) -> pa.Table:
    """`user_key` and `item_id` of the last `n` different items of each user: stands for what a newcomer clicks."""
    mine = interactions.take(np.flatnonzero(index_of(keys, interactions[USER_KEY]) >= 0))
    last = mine.group_by([USER_KEY, ITEM_ID]).aggregate([("occurred_at", "max")])
    ordered = last.sort_by([(USER_KEY, "ascending"), ("occurred_at_max", "descending"), (ITEM_ID, "ascending")])
    user = index_of(keys, ordered[USER_KEY])
    return ordered.select([USER_KEY, ITEM_ID]).take(np.flatnonzero(places(user) < n))


def category_popularity(data: TrainingData, paths: NDArray[np.str_], half_life_days: float) -> NDArray[np.float32]:
    """[n] for items of these category paths: decayed baskets of the known items beside them, per item.

    The mean is over the items of the whole path, or of the nearest level above that has sold anything; 0 without any.
    """
    found = _means(data.item_categories, popularity(data, half_life_days))
    return np.array([_nearest(found, path) for path in paths.tolist()], dtype=np.float32)


def _means(paths: NDArray[np.str_], popularity: NDArray[np.float32]) -> dict[str, float]:
    """The mean popularity of the items at or below each level of the category paths."""
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
    """The path and the levels above it, the most special first."""
    parts = path.split(CATEGORY_SEPARATOR) if path else []
    return [CATEGORY_SEPARATOR.join(parts[:depth]) for depth in range(len(parts), 0, -1)]


def _without_events() -> dict[str, Any]:
    empty = {"user": np.int32, "item": np.int32, "occurred_at": np.int64, "basket": np.int32}
    return {name: np.empty(0, dtype=kind) for name, kind in empty.items()}
