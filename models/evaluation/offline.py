"""Evaluates a model on the held-out weeks: metrics per user, their averages, and scored pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from models.columns import USER_KEY
from models.datasets.training_data import TrainingData
from models.evaluation.metrics.beyond_accuracy import CANDIDATES, ItemNovelty, Reranked, coverage, rerank, spread
from models.evaluation.metrics.bootstrap import NEW, REPEAT, Figures, averages, averages_by_history, with_bounds
from models.evaluation.metrics.calibration import DEPTH, USERS, Pairs
from models.evaluation.metrics.ranking import ScoreAUC, accuracy, hit_matrix
from models.lists.constrained_selection import Selection
from models.lists.list_builder import lists_of_scores
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.threads import thread_pool
from models.primitives.vocabulary import index_of
from models.recommenders.protocols import DISCOVER, MIX, REPURCHASE, Recommender, head_of
from models.retrieval.candidate_sources import DenseSource, TopCandidates

LISTS: Final = "items_at_10"
"""The column of `Evaluation.per_user` that holds the lists of ten places."""
SEED: Final = 7
"""Seed of the bootstrap intervals."""
_THREADS: Final = 2
"""Chunks of users that are evaluated in parallel; numpy releases the interpreter lock."""


@dataclass(frozen=True)
class TargetSet:
    """Purchases of m users that lists should contain."""

    prefix: str
    """Prefix of the metric names."""
    targets: sparse.csr_array
    """Boolean CSR, m x n_items."""
    policy: str = MIX
    """The policy whose head makes the lists."""
    hide: sparse.csr_array | None = None
    """Items hidden from the lists, in the same shape."""
    only: sparse.csr_array | None = None
    """The only items on the lists, in the same shape."""

    def measure(self, ranking: Selection, catalogue: ItemNovelty | None, auc: Figures) -> Figures:
        """Return metrics per user [m] of lists [m, k]: accuracy, AUC, and with `catalogue` also variety."""
        k, n_targets = ranking.items.shape[1], np.diff(self.targets.indptr)
        lists = accuracy(ranking.items, self.targets) | (catalogue.variety(ranking.items) if catalogue else {})
        of_lists = {f"{name}_at_{k}": np.where(n_targets > 0, values, np.nan) for name, values in lists.items()}
        return {"targets": n_targets.astype(np.float64), **of_lists, **auc}

    def summarise(
        self, measured: Figures, ranking: Selection, baskets: NDArray[np.int64] | None, seed: int
    ) -> dict[str, float]:
        """Return the averages of `measured` and the metrics of all lists together; `baskets` [m] adds intervals."""
        counted = measured["targets"] > 0
        measured_users = {name: values[counted] for name, values in measured.items()}
        lists = {
            "distinct_lists": float(len(np.unique(ranking.items, axis=0))),
            "fallback_share": float(ranking.from_fallback.mean()) if ranking.from_fallback.size else float("nan"),
        }
        if baskets is None:
            summary = averages(measured_users, self.prefix)
            lists[f"coverage_at_{ranking.items.shape[1]}"] = coverage(ranking.items, self.targets.shape[1])
        else:
            summary = averages_by_history(measured_users, baskets[counted], self.prefix, seed)
            lists |= self._together(ranking, seed)
        return summary | {self.prefix + name: value for name, value in lists.items()}

    def _together(self, ranking: Selection, seed: int) -> dict[str, float]:
        """Return coverage, Gini index, and the confusion matrix of shown and bought over all pairs of user and item."""
        if self.only is not None:
            return {}
        k, n_items = ranking.items.shape[1], self.targets.shape[1]
        figures = with_bounds({f"{name}_at_{k}": one for name, one in spread(ranking.items, n_items, seed).items()})
        shown, bought = float((ranking.items >= 0).sum()), float(self.targets.nnz)
        both = float(hit_matrix(ranking.items, self.targets).sum())
        pairs = float(self.targets.shape[0] * n_items - (0 if self.hide is None else self.hide.nnz))
        matrix = {"shown_bought": both, "shown_unbought": shown - both, "unshown_bought": bought - both}
        return figures | matrix | {"unshown_unbought": pairs - shown - bought + both}


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one model on the held-out weeks."""

    per_user: pa.Table
    """`user_key`, `baskets` (in the history), `targets` and each metric as `<metric>_at_<k>`, `roc_auc`, `pr_auc`; the
    same prefixed `new_`, null without new targets; the accuracy prefixed `repeat_`, null without repeated ones. Also
    `items_at_<k>`, the ids shown, and `fallback_at_<k>`, the share of the places that the fallback filled."""
    summary: dict[str, float]
    """Means of those metrics with the bounds of their intervals (`_low`, `_high`), and `users`; of the lists together
    `coverage_at_<k>` (share of the catalogue shown), `gini_at_<k>`, `distinct_lists`, `fallback_share` (share of
    places filled from the fallback) and the confusion matrix; the same prefixed `new_`. Means also of `warm_` and
    `cold_` users. `nan_scores` counts scores that are NaN."""
    pairs: Pairs | None = None
    reranked: tuple[Reranked, ...] = ()
    """The cost of wider exposure, the smallest penalty first; empty if it was not measured."""


class _Chunk(NamedTuple):
    """The lists of m users."""

    by_target_set: list[tuple[Selection, Figures]]
    """For each target set the lists, and the AUC per user."""
    ranking: TopCandidates
    """The first `DEPTH` items of the model's own scores, for pairs; empty beyond the first `USERS` users."""
    nan_scores: int


def evaluate(
    model: Recommender,
    data: TrainingData,
    targets: sparse.csr_array,
    fallback: NDArray[np.float32],
    k: int = 10,
    chunk: int = 256,
    brief: bool = False,
) -> Evaluation:
    """Rank the whole catalogue for every user with targets (boolean CSR [users, items] of `data`).

    Metrics cover all items, then only new items (earlier purchases are hidden and are no targets), then only earlier
    purchases, each with the model's head for such lists. A `brief` evaluation, for searches, has only accuracy and
    coverage over all items and over new ones, without intervals. `fallback` [n_items] fills short lists. A model of
    other users or items (an older champion) is queried by key; unknown ones have no score. Memory is about
    2 x chunk x n_items x 14 bytes.
    """
    users = np.flatnonzero(targets.sum(axis=1)).astype(np.int32)
    history, bought = data.history()[users], sparse.csr_array(targets[users])
    target_sets = [TargetSet("", bought), TargetSet(NEW, _without(bought, history), DISCOVER, hide=history)]
    if not brief:
        target_sets.append(TargetSet(REPEAT, sparse.csr_array(bought.multiply(history)), REPURCHASE, only=history))
    parts = [slice(start, start + chunk) for start in range(0, len(users), chunk)]
    depth = k if brief else max(k, CANDIDATES)
    heads = {one.policy: head_of(model, one.policy) for one in target_sets}
    different = {id(head): _score_reader(head, data, users) for head in heads.values()}
    readers = [different[id(heads[one.policy])] for one in target_sets]
    ranked = _rank(readers, parts, target_sets, fallback, depth, brief)
    candidates = ranked.by_target_set[0][0].items
    lists_and_auc = [(ranking.first(k), auc) for ranking, auc in ranked.by_target_set]
    novelty, baskets = (None, None) if brief else (ItemNovelty.of(data), data.baskets()[users])
    per_user: Figures = {} if baskets is None else {"baskets": baskets}
    summary: dict[str, float] = {}
    for target_set, (ranking, auc) in zip(target_sets, lists_and_auc, strict=True):
        measured = target_set.measure(ranking, None if target_set.only is not None else novelty, auc)
        summary |= target_set.summarise(measured, ranking, baskets, SEED)
        per_user |= {target_set.prefix + name: values for name, values in measured.items()}
    arrays = {name: pa.array(values, from_pandas=True) for name, values in per_user.items()}
    shown = {} if brief else _shown(lists_and_auc[0][0], data.items, k)
    summary |= {} if brief else {"nan_scores": float(ranked.nan_scores)}
    table = pa.table({USER_KEY: pa.array(data.users[users].tolist(), pa.string()), **arrays, **shown})
    if novelty is None:
        return Evaluation(table, summary)
    reranked = tuple(rerank(candidates, k, bought, novelty)) if len(users) else ()
    pairs = Pairs.of(ranked.ranking, bought[:USERS], getattr(model, "probabilities", False))
    return Evaluation(table, summary, pairs, reranked)


def _shown(lists: Selection, items: NDArray[np.str_], k: int) -> dict[str, pa.Array]:
    """Return the columns with the items shown to each user."""
    filled = lists.items >= 0
    ids = pa.array(items[lists.items[filled]].tolist(), pa.string())
    ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    return {
        f"items_at_{k}": pa.ListArray.from_arrays(pa.array(ends), ids),
        f"fallback_at_{k}": pa.array(lists.from_fallback.mean(axis=1)),
    }


def _score_reader(
    model: Recommender, data: TrainingData, users: NDArray[np.int32]
) -> Callable[[slice], NDArray[np.float32]]:
    """Return a function from a part of the users to their scores [m, n_items]."""
    positions = index_of(model.users, data.users[users])
    if np.array_equal(model.items, data.items):
        return lambda part: model.scores(positions[part])
    columns = index_of(model.items, data.items)
    known = np.flatnonzero(columns >= 0)

    def read(part: slice) -> NDArray[np.float32]:
        scores = model.scores(positions[part])
        moved = np.full((len(scores), len(data.items)), -np.inf, dtype=np.float32)
        moved[:, known] = scores[:, columns[known]]
        return moved

    return read


def _rank(
    readers: list[Callable[[slice], NDArray[np.float32]]],
    parts: list[slice],
    target_sets: list[TargetSet],
    fallback: NDArray[np.float32],
    k: int,
    brief: bool,
) -> _Chunk:
    """Rank all users in chunks, and join the chunks."""
    rules = CompiledRules.unrestricted(k, len(fallback))

    def rank_part(part: slice) -> _Chunk:
        known = {read: read(part) for read in dict.fromkeys(readers)}
        areas = {read: ScoreAUC.of(scores) for read, scores in known.items() if not brief}
        ranked = []
        for read, target_set in zip(readers, target_sets, strict=True):
            hide, only = (None if some is None else some[part] for some in (target_set.hide, target_set.only))
            lists = lists_of_scores(known[read], rules, fallback, hide, only)
            has_area = areas and only is None
            ranked.append((lists, areas[read].per_user(target_set.targets[part], hide) if has_area else {}))
        scores = known[readers[0]]
        first = np.arange(0 if brief else min(len(scores), max(0, USERS - part.start)))
        ranking = DenseSource(scores).fetch(first, DEPTH)
        return _Chunk(ranked, ranking, 0 if brief else sum(int(np.isnan(own).sum()) for own in known.values()))

    with thread_pool(_THREADS) as pool:
        chunks = list(pool.map(rank_part, parts))
    joined = []
    for place in range(len(target_sets)):
        lists, auc = [c.by_target_set[place][0] for c in chunks], [c.by_target_set[place][1] for c in chunks]
        stacked = {name: np.concatenate([part[name] for part in auc]) for name in (auc[0] if auc else {})}
        joined.append((Selection.joined(lists, k), stacked))
    ranking = TopCandidates.joined([chunk.ranking for chunk in chunks], DEPTH)
    return _Chunk(joined, ranking, sum(chunk.nan_scores for chunk in chunks))


def _without(bought: sparse.csr_array, history: sparse.csr_array) -> sparse.csr_array:
    new = sparse.csr_array(bought > history)
    new.eliminate_zeros()
    return new
