"""One model on the held-out weeks: each user's figures, their averages, and what it said of single pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from models.columns import USER_KEY
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.exposure_tradeoff import CANDIDATES, Reranked, rerank
from models.evaluation.metrics.auc import ScoreAUC
from models.evaluation.metrics.beyond_accuracy import ItemNovelty
from models.evaluation.metrics.calibration import DEPTH, USERS, Pairs
from models.evaluation.metrics.user_averages import NEW, Figures
from models.evaluation.targets import TargetSet
from models.lists.constrained_selection import Selection
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.scored_users import lists_of_scores
from models.primitives.threads import thread_pool
from models.primitives.vocabulary import index_of
from models.recommenders.protocols import Recommender
from models.retrieval.candidate_sources import DenseSource
from models.retrieval.source_protocols import TopCandidates

LISTS: Final = "items_at_10"
"""The column of `Evaluation.per_user` that holds the lists of ten places."""
SEED: Final = 7
"""Of the intervals."""
_AT_ONCE: Final = 2
"""Parts of the users that are looked at at a time: numpy lets others work meanwhile."""


@dataclass(frozen=True)
class Evaluation:
    """How well a model foresaw what users bought."""

    per_user: pa.Table
    """`user_key`, `baskets` (in the history), `targets` and each metric as `<metric>_at_<k>`, `roc_auc`, `pr_auc`; the
    same prefixed `new_`, null without new targets. Also `items_at_<k>`, the ids shown, and `fallback_at_<k>`, the share
    of the places that the fallback filled."""
    summary: dict[str, float]
    """Means of those metrics with the bounds of their intervals (`_low`, `_high`), and `users`; of the lists together
    `coverage_at_<k>` (share of the catalogue shown), `gini_at_<k>`, `distinct_lists`, `fallback_share` (share of
    places filled from the fallback) and the confusion matrix; the same prefixed `new_`. Means also of `warm_` and
    `cold_` users. `nan_scores` counts scores that are no numbers."""
    pairs: Pairs | None = None
    reranked: tuple[Reranked, ...] = ()
    """What wider exposure would cost, the smallest penalty first; empty where it was not measured."""


def evaluate(
    model: Recommender,
    data: TrainingData,
    targets: Any,
    fallback: NDArray[np.float32],
    k: int = 10,
    chunk: int = 256,
    brief: bool = False,
) -> Evaluation:
    """Rank the whole catalogue for every user with targets (boolean CSR, users x items of `data`).

    Once over all items, and once with what the user has bought hidden and left out of the targets. `brief` is what
    searches ask for: accuracy and coverage over all items, without intervals. `fallback` [n_items] fills short lists.
    A model of other users or items (an older champion) is asked by key; it has nothing to say where it does not know
    them. Memory is about 2 x chunk x n_items x 14 bytes.
    """
    users = np.flatnonzero(targets.sum(axis=1)).astype(np.int32)
    history, wanted = data.history()[users], sparse.csr_array(targets[users])
    goals = (
        [TargetSet("", wanted)]
        if brief
        else [TargetSet("", wanted), TargetSet(NEW, _without(wanted, history), history)]
    )
    parts = [slice(start, start + chunk) for start in range(0, len(users), chunk)]
    depth = k if brief else max(k, CANDIDATES)
    looks, named, nan_scores = _look(_asked(model, data, users), parts, goals, fallback, depth, brief)
    candidates = looks[0][0].items
    looks = [(ranking.first(k), separated) for ranking, separated in looks]
    catalogue, baskets = (None, None) if brief else (ItemNovelty.of(data), data.baskets()[users])
    per_user: Figures = {} if baskets is None else {"baskets": baskets}
    summary: dict[str, float] = {}
    for goal, (ranking, separated) in zip(goals, looks, strict=True):
        measured = goal.measure(ranking, catalogue, separated)
        summary |= goal.summarise(measured, ranking, baskets, SEED)
        per_user |= {goal.prefix + name: values for name, values in measured.items()}
    arrays = {name: pa.array(values, from_pandas=True) for name, values in per_user.items()}
    shown = {} if brief else _shown(looks[0][0], data.items, k)
    summary |= {} if brief else {"nan_scores": float(nan_scores)}
    table = pa.table({USER_KEY: pa.array(data.users[users].tolist(), pa.string()), **arrays, **shown})
    said = getattr(model, "probabilities", False)
    if catalogue is None:
        return Evaluation(table, summary)
    reranked = tuple(rerank(candidates, k, wanted, catalogue)) if len(users) else ()
    return Evaluation(table, summary, Pairs.of(named, wanted[:USERS], said), reranked)


def _shown(lists: Selection, items: NDArray[np.str_], k: int) -> dict[str, Any]:
    """The columns that say what each user was shown."""
    filled = lists.items >= 0
    ids = pa.array(items[lists.items[filled]].tolist(), pa.string())
    ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    return {
        f"items_at_{k}": pa.ListArray.from_arrays(pa.array(ends), ids),
        f"fallback_at_{k}": pa.array(lists.from_fallback.mean(axis=1)),
    }


def _asked(model: Recommender, data: TrainingData, users: NDArray[np.int32]) -> Callable[[slice], NDArray[np.float32]]:
    """Gives the scores [m, n_items] of a part of the users."""
    asked = index_of(model.users, data.users[users])
    # None when the model's items are the data's.
    columns = None if np.array_equal(model.items, data.items) else index_of(model.items, data.items)
    return lambda part: _scores(model, asked[part], columns, len(data.items))


def _look(
    asked: Callable[[slice], NDArray[np.float32]],
    parts: list[slice],
    goals: list[TargetSet],
    fallback: NDArray[np.float32],
    k: int,
    brief: bool,
) -> tuple[list[tuple[Selection, Figures]], TopCandidates, int]:
    """For each goal the lists and how well scores separate; of the first `USERS`, what the model names at all; and how
    many scores are no numbers."""

    rules = CompiledRules.unrestricted(k, len(fallback))
    all_items = np.arange(len(fallback), dtype=np.int32)

    def look(part: slice) -> tuple[list[tuple[Selection, Figures]], TopCandidates, int]:
        scores = asked(part)
        separation = None if brief else ScoreAUC.of(scores)
        made = []
        for goal in goals:
            hide = None if goal.hide is None else goal.hide[part]
            lists = lists_of_scores(scores, rules, fallback, hide)
            made.append((lists, separation.per_user(goal.targets[part], hide) if separation else {}))
        first = np.arange(0 if brief else min(len(scores), max(0, USERS - part.start)))
        named = DenseSource(scores).restrict_to(all_items).fetch(first, DEPTH)
        return made, named, 0 if brief else int(np.isnan(scores).sum())

    with thread_pool(_AT_ONCE) as pool:
        looks = list(pool.map(look, parts))
    of_goals = [[made[place] for made, _, _ in looks] for place in range(len(goals))]
    joined = [
        (
            Selection.joined([lists for lists, _ in parts_of_goal], k),
            _stacked([figures for _, figures in parts_of_goal]),
        )
        for parts_of_goal in of_goals
    ]
    named = TopCandidates.joined([named for _, named, _ in looks], DEPTH)
    return joined, named, sum(broken for _, _, broken in looks)


def _without(wanted: Any, history: Any) -> Any:
    new = sparse.csr_array(wanted > history)
    new.eliminate_zeros()
    return new


def _scores(
    model: Recommender, asked: NDArray[np.int32], columns: NDArray[np.int32] | None, n: int
) -> NDArray[np.float32]:
    scores = model.scores(asked)
    if columns is None:
        return scores
    known = np.flatnonzero(columns >= 0)
    moved = np.full((len(asked), n), -np.inf, dtype=np.float32)
    moved[:, known] = scores[:, columns[known]]
    return moved


def _stacked(parts: list[Figures]) -> Figures:
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}
