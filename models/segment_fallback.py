"""What people get of whom a model has nothing to say: the best sellers of their segment, else those of everybody."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import ITEM_ID, SCORE
from models.features.segments import EVERYBODY, KIND, SEGMENT
from models.training_data import index_of


def segment_scores(
    best: pa.Table, kind: str, segments: Sequence[str | None], items: NDArray[np.str_]
) -> NDArray[np.float32]:
    """float32 [m, n_items] for users of these segments of a `kind`; -inf for all but the best sellers.

    `best` is what `models.features.segments.best_sellers` returns. Users without a segment, or of one that has
    bought nothing, get what everybody buys.
    """
    rows = {segment: _row(best, kind, segment, items) for segment in {s for s in segments if s is not None}}
    everybody = _row(best, EVERYBODY, EVERYBODY, items)
    scores = np.full((len(segments), len(items)), -np.inf, dtype=np.float32)
    for user, segment in enumerate(segments):
        own = rows.get(segment, everybody) if segment is not None else everybody
        scores[user] = own if np.isfinite(own).any() else everybody
    return scores


def filled(scores: NDArray[np.float32], fallback: NDArray[np.float32]) -> NDArray[np.float32]:
    """`scores` [m, n_items], with the rows of `fallback` [m, n_items] for users of whom they say nothing."""
    said = np.isfinite(scores).any(axis=1, keepdims=True)
    return np.where(said, scores, fallback)


def _row(best: pa.Table, kind: str, segment: str, items: NDArray[np.str_]) -> NDArray[np.float32]:
    mine = best.filter(pc.and_(pc.equal(best[KIND], kind), pc.equal(best[SEGMENT], segment)))
    place = index_of(items, mine[ITEM_ID])
    row = np.full(len(items), -np.inf, dtype=np.float32)
    row[place[place >= 0]] = np.asarray(mine[SCORE], dtype=np.float32)[place >= 0]
    return row
