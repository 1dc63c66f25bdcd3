"""What a ranker learns from: candidates as they stood at an earlier moment, and which of them were then bought."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.candidates import Candidates
from models.ranker_rows import RankerRows
from models.training_data import NoHistoryError, TrainingData

BLOCK = 16_000_000
"""Scores of a retriever that are held at once: 64 MB."""


class Lessons(NamedTuple):
    """n candidates, the users in order."""

    rows: NDArray[np.float32]
    """[n, features] in order of `RankerRows.names`."""
    labels: NDArray[np.float32]
    """[n] 1 where the user bought the item afterwards."""
    weights: NDArray[np.float32]
    """[n] 1, or more where a candidate stands for others that were left out."""


def lessons(past: TrainingData, data: TrainingData, config: Any, seed: int) -> Lessons:
    """Candidates at the cut of `past`, for a sample of the users who bought something from there to that of `data`.

    Raises NoHistoryError when nobody did.
    """
    assert past.origin is not None
    random = np.random.default_rng(seed)
    bought = past.origin.holdout(past, data.cut)
    buyers = np.flatnonzero(np.diff(bought.indptr)).astype(np.int32)
    if not len(buyers):
        raise NoHistoryError("Nobody bought anything in the days to learn from: ingest more data or cut later.")
    if len(buyers) > config.train_users:
        buyers = np.sort(random.choice(buyers, config.train_users, replace=False))
    candidates = Candidates.fit(past, tuple(config.retrievers), config.per_retriever, seed)
    features, n = RankerRows.of(past), len(past.items)
    wanted = np.repeat(np.arange(len(past.users), dtype=np.int64), np.diff(bought.indptr)) * n + bought.indices
    parts = []
    for users in np.array_split(buyers, -(-len(buyers) * n // BLOCK)):
        found = candidates.find(users)
        labels = np.isin(users[found.row].astype(np.int64) * n + found.item, wanted)
        kept = np.flatnonzero(labels | (random.random(len(labels)) < config.negatives))
        rows = features.build(users, found.at(kept))
        weights = np.where(labels[kept], 1, 1 / config.negatives)
        parts.append(Lessons(rows, labels[kept].astype(np.float32), weights.astype(np.float32)))
    return Lessons(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
