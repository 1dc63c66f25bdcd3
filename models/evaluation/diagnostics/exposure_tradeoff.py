"""Measures the cost of wider exposure: candidates re-ranked with a penalty on items that are shown often."""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.beyond_accuracy import ItemNovelty, concentration, coverage
from models.evaluation.metrics.ranking import accuracy
from models.primitives.vocabulary import NO_INDEX

if TYPE_CHECKING:
    from scipy import sparse

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
