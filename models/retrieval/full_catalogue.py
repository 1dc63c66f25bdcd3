"""The only place where scores become lists: exact top-k, filled up from a fallback."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.primitives.csr import places
from models.primitives.vocabulary import NO_INDEX

_BLOCK: Final = 4_000_000
# Scores handled at once: 16 MB stay near the processor, and ties over whole rows stay bounded in memory.

_NOTHING: Final = np.float32(-np.inf)


class Ranking(NamedTuple):
    """The k best items of m users, best first, each item at most once a user."""

    items: NDArray[np.int32]
    """[m, k] item positions; -1 where no allowed item was left."""
    scores: NDArray[np.float32]
    """[m, k] the model's score, or the fallback's own where it filled up (another scale: go by rank)."""
    from_fallback: NDArray[np.bool_]
    """[m, k] true where the fallback filled up because the model had nothing to say."""


def top_k(
    scores: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
    fallback: NDArray[np.float32] | None = None,
    hide: Any = None,
    ordered: NDArray[np.float32] | None = None,
) -> Ranking:
    """Rank each row of `scores` [m, n_items], ties by item position; -inf and NaN are never ranked.

    `allowed` [n_items] keeps items out for everybody, `hide` (CSR, m x n_items) for one user each.
    `fallback` [n_items] fills the places that are left, its own -inf and NaN last; without it they stay -1.
    `ordered` [m, n_items] are the rows in ascending order, for callers who have them; it saves time.
    """
    m, n = scores.shape
    allowed = np.ones(n, dtype=bool) if allowed is None else allowed
    order = None if fallback is None else _fallback_order(fallback, allowed)
    ranking = Ranking(
        np.full((m, k), NO_INDEX, dtype=np.int32),
        np.full((m, k), _NOTHING, dtype=np.float32),
        np.zeros((m, k), dtype=bool),
    )
    rows = max(1, _BLOCK // max(n, 1))
    for start in range(0, m, rows):
        block = slice(start, min(start + rows, m))
        part = Ranking(ranking.items[block], ranking.scores[block], ranking.from_fallback[block])
        hidden = np.empty((2, 0), dtype=np.int64) if hide is None else np.array(hide[block].nonzero())
        _rank(scores[block], allowed, hidden, part, None if ordered is None else ordered[block])
        if order is not None and fallback is not None:
            _fill(order, fallback, hidden, part)
    return ranking


def _rank(
    scores: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    hidden: NDArray[np.int64],
    out: Ranking,
    ordered: NDArray[np.float32] | None,
) -> None:
    """Write each row's best into `out`, leaving the places without a candidate as they are."""
    k = out.items.shape[1]
    usable = np.where(allowed & ~np.isnan(scores), scores, _NOTHING)
    usable[hidden[0], hidden[1]] = _NOTHING
    n = usable.shape[1]
    if 0 < k < n:
        # The k-th best value; everything tied with it stays a candidate, so that ties go by position. Sought from the
        # top of a row that is mostly -inf it is found 16 times as fast as from the bottom.
        if ordered is None:
            least = -np.partition(-usable, k - 1, axis=1)[:, k - 1, None]
        else:
            least = _at_least(ordered, k, allowed, hidden[0])
        candidate = (usable >= least) & (usable > _NOTHING)
    else:
        candidate = usable > _NOTHING
    row, item = np.nonzero(candidate)
    value = usable[row, item]
    best = np.lexsort((item, -value, row))
    row, item, value = row[best], item[best], value[best]
    place = places(row)
    kept = place < k
    out.items[row[kept], place[kept]] = item[kept]
    out.scores[row[kept], place[kept]] = value[kept]


def _at_least(
    ordered: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], hidden: NDArray[np.int64]
) -> NDArray[np.float32]:
    """[m, 1] what each row's best k have at least, however many of the best are kept out."""
    m, n = ordered.shape
    kept_out = np.bincount(hidden, minlength=m) + int((~allowed).sum())
    least: NDArray[np.float32] = ordered[np.arange(m), np.maximum(n - k - kept_out, 0)][:, None]
    return least


def _fallback_order(fallback: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    ranked = np.argsort(-np.where(np.isnan(fallback), _NOTHING, fallback), kind="stable")
    return ranked[allowed[ranked]]


def _fill(order: NDArray[np.int64], fallback: NDArray[np.float32], hidden: NDArray[np.int64], out: Ranking) -> None:
    """Fill the empty places of `out` with the best of the fallback that is neither listed nor hidden."""
    short = np.flatnonzero((out.items == NO_INDEX).any(axis=1))
    if not len(short):
        return
    k, place = out.items.shape[1], np.full(len(fallback), len(order))
    place[order] = np.arange(len(order))
    listed_row, listed_at = np.nonzero(out.items[short] != NO_INDEX)
    mine = np.isin(hidden[0], short)
    row = np.concatenate([listed_row, np.searchsorted(short, hidden[0][mine])])
    item = np.concatenate([out.items[short][listed_row, listed_at], hidden[1][mine]])
    # Nobody needs more of the order than k places and what he may not get.
    width = min(len(order), k + int(np.bincount(row, minlength=1).max()))
    free = np.ones((len(short), width + 1), dtype=bool)
    free[row, np.minimum(place[item], width)] = False
    free = free[:, :width]
    listed = (out.items[short] != NO_INDEX).sum(axis=1)
    at = listed[:, None] + np.cumsum(free, axis=1) - 1
    row, column = np.nonzero(free & (at < k))
    to, filler = at[row, column], order[column]
    out.items[short[row], to] = filler
    out.scores[short[row], to] = fallback[filler]
    out.from_fallback[short[row], to] = True
