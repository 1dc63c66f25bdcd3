"""Measures lists beyond accuracy: novelty, diversity, long tail, coverage and concentration."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY_SEPARATOR
from models.datasets.training_data import TrainingData
from models.evaluation.metrics.bootstrap import Estimate, estimate
from models.evaluation.metrics.ranking import accuracy
from models.primitives.vocabulary import NO_INDEX

VARIETY: Final = ("novelty", "diversity", "long_tail")
HEAD: Final = 0.2
"""Share of the catalogue, the items with the most buyers, that is outside the long tail."""
SPREAD: Final = ("coverage", "gini")


@dataclass(frozen=True)
class ItemNovelty:
    """How rare each item was before the cut, and its category levels."""

    surprise: NDArray[np.float64]
    """[n_items] bits: -log2 of the share of users who had the item, at least one user."""
    levels: NDArray[np.int64]
    """[n_items, depth] a code for each category path prefix; -1 beyond the end of the path."""
    tail: NDArray[np.bool_]
    """[n_items] whether the item is in the long tail: outside the `HEAD`, and not tied with its last item."""

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Compute it from the data before the cut."""
        holders = np.bincount(data.history().indices, minlength=len(data.items))
        surprise = -np.log2(np.maximum(holders, 1) / max(1, len(data.users)))
        return cls(surprise, _levels(data.item_categories), holders < np.quantile(holders, 1 - HEAD))

    def variety(self, ranked: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        """Return each of `VARIETY` per list [m] of lists [m, k]; NaN for lists that are too short.

        Novelty is the mean self-information of the items (Zhou et al. 2010; Vargas and Castells 2011). Diversity is
        the mean distance of two items of the list (Ziegler et al. 2005): 1 less the share of the levels of the
        longer category path that both have in common; pairs in which a category is unknown are left out. Long tail is
        the share of the items that are there (Abdollahpouri et al. 2019).
        """
        filled = ranked >= 0
        count = filled.sum(axis=1)
        surprise = np.where(filled, self.surprise[ranked], 0.0).sum(axis=1)
        tail_items = (filled & self.tail[ranked]).sum(axis=1)
        placed = (filled & (self.levels[ranked] >= 0).any(axis=2)).sum(axis=1)
        distances, pairs, nonempty = self._apart(ranked), placed * (placed - 1) / 2, np.where(count > 0, count, np.nan)
        with np.errstate(invalid="ignore"):
            return {"novelty": surprise / nonempty, "diversity": distances / pairs, "long_tail": tail_items / nonempty}

    def _apart(self, ranked: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the sum of the distances of all pairs of each list."""
        levels = np.where((ranked >= 0)[:, :, None], self.levels[ranked], -1)
        depth = (levels >= 0).sum(axis=2)
        distances = np.zeros(len(ranked))
        for step in range(1, ranked.shape[1]):
            both = (depth[:, step:] > 0) & (depth[:, :-step] > 0)
            shared = ((levels[:, step:] == levels[:, :-step]) & (levels[:, step:] >= 0)).sum(axis=2)
            deeper = np.maximum(1, np.maximum(depth[:, step:], depth[:, :-step]))
            distances += np.where(both, 1 - shared / deeper, 0.0).sum(axis=1)
        return distances


def spread(ranked: NDArray[np.int32], n_items: int, seed: int) -> dict[str, Estimate]:
    """Return each of `SPREAD` of m lists [m, k]: coverage of the catalogue, and the Gini index of its items' places.

    The Gini index is 0 for equal exposure, and near 1 if few items have all places (Fleder and Hosanagar 2009).
    """
    shown, column = np.unique(ranked[ranked >= 0], return_inverse=True)
    user = np.nonzero(ranked >= 0)[0]
    places = sparse.csr_array((np.ones(len(user)), (user, column)), shape=(len(ranked), len(shown)))
    return spread_of_places(places, n_items, seed)


def spread_of_places(places: sparse.csr_array, n_items: int, seed: int) -> dict[str, Estimate]:
    """Return the same from the places of the shown items: CSR, m users x shown items."""

    def covered(drawn: Any) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = ((drawn @ places) > 0).sum(axis=1) / max(1, n_items)
        return shares

    def gini(drawn: Any) -> NDArray[np.float64]:
        return concentration(drawn @ places, n_items)

    return {name: estimate(figure, places.shape[0], seed) for name, figure in zip(SPREAD, (covered, gini), strict=True)}


def coverage(ranked: NDArray[np.int32], n_items: int) -> float:
    """Return the share of the catalogue that lists [m, k] show."""
    return len(np.unique(ranked[ranked >= 0])) / max(1, n_items)


def concentration(counts: NDArray[np.float64], n_items: int) -> NDArray[np.float64]:
    """Return the Gini index of each row of counts [s, n]; items without a column count 0. NaN if all are 0."""
    ordered = np.sort(counts, axis=1)
    place = np.arange(n_items - counts.shape[1] + 1, n_items + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gini: NDArray[np.float64] = ordered @ (2 * place - n_items - 1) / (n_items * ordered.sum(axis=1))
    return gini


def _levels(paths: NDArray[np.str_]) -> NDArray[np.int64]:
    known, at = np.unique(paths, return_inverse=True)
    parts = [path.split(CATEGORY_SEPARATOR) if path else [] for path in known.tolist()]
    levels = np.full((len(known), max(map(len, parts), default=0)), -1, dtype=np.int64)
    for depth in range(levels.shape[1]):
        deep = [row for row, names in enumerate(parts) if len(names) > depth]
        prefixes = [CATEGORY_SEPARATOR.join(parts[row][: depth + 1]) for row in deep]
        levels[deep, depth] = np.unique(prefixes, return_inverse=True)[1]
    return levels[at]


CANDIDATES: Final = 50
"""Best items of each user that a re-ranking can choose."""
PENALTIES: Final = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0)
"""From almost 0 to more than the weight of the best place."""


class Reranked(NamedTuple):
    """The figures of the lists at one penalty."""

    penalty: float
    ndcg_at_10: float
    coverage_at_10: float
    long_tail_at_10: float
    gini_at_10: float


def rerank(
    candidates: NDArray[np.int32], k: int, targets: "sparse.csr_array", catalogue: ItemNovelty
) -> list[Reranked]:
    """Return the figures of k places at each of `PENALTIES`, the smallest first.

    `candidates` [m, n] are item positions, best first, -1 = empty; `targets` is a boolean CSR [m, n_items].

    An item keeps 1 / log2(place + 1) of its place among the candidates, less the penalty times its exposure: the log of
    how often it is a candidate, in upper places more. Popularity penalties of this form are the usual re-ranking for
    the long tail (Abdollahpouri et al. 2019).
    """
    place = np.arange(candidates.shape[1])
    utility = np.where(candidates == NO_INDEX, -np.inf, 1 / np.log2(place + 2))
    exposure = _exposure(candidates, targets.shape[1])
    reranked = []
    for penalty in PENALTIES:
        best = np.argsort(-(utility - penalty * exposure[candidates]), axis=1, kind="stable")[:, :k]
        lists = np.take_along_axis(candidates, best, axis=1)
        reranked.append(Reranked(penalty, *_figures(lists, targets, catalogue)))
    return reranked


def _exposure(candidates: NDArray[np.int32], n_items: int) -> NDArray[np.float64]:
    """Return [n_items] exposure as a candidate, 1 for the most exposed item."""
    row, place = np.nonzero(candidates != NO_INDEX)
    log_counts = np.log1p(np.bincount(candidates[row, place], 1 / np.log2(place + 2), minlength=n_items))
    highest = log_counts.max(initial=0.0)
    return log_counts / highest if highest > 0 else log_counts


def _figures(
    lists: NDArray[np.int32], targets: "sparse.csr_array", catalogue: ItemNovelty
) -> tuple[float, float, float, float]:
    n_items = targets.shape[1]
    shown = np.unique(lists[lists != NO_INDEX], return_counts=True)[1].astype(np.float64)
    tail_share = catalogue.variety(lists)["long_tail"]
    return (
        float(np.nanmean(accuracy(lists, targets)["ndcg"])),
        coverage(lists, n_items),
        float(np.nanmean(tail_share)),
        float(concentration(shown[None, :], n_items)[0]),
    )
