"""One model on the held-out weeks: each user's accuracy, and the averages."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from models.columns import USER_KEY
from models.evaluation.metrics import METRICS, accuracy
from models.ranking import Ranking, top_k
from models.recommender import Recommender
from models.training_data import TrainingData, index_of

NEW: Final = "new_"
"""Prefix of the figures on items new to the user."""


@dataclass(frozen=True)
class Evaluation:
    """How well a model foresaw what users bought."""

    per_user: pa.Table
    """`user_key`, `targets` and each metric as `<metric>_at_<k>`; the same prefixed `new_`, null without new
    targets."""
    summary: dict[str, float]
    """Means of those metrics, `users`, `coverage_at_<k>` (share of the catalogue shown), `distinct_lists`,
    `fallback_share` (share of places filled from the fallback); the same prefixed `new_`."""


def evaluate(
    model: Recommender,
    data: TrainingData,
    targets: Any,
    fallback: NDArray[np.float32],
    k: int = 10,
    chunk: int = 512,
    new_items: bool = True,
) -> Evaluation:
    """Rank the whole catalogue for every user with targets (boolean CSR, users x items of `data`).

    Once over all items, and (`new_items`) once with what the user has bought hidden and left out of the targets.
    `fallback` [n_items] fills short lists. A model of other users or items (an older champion) is asked by
    key; it has nothing to say where it does not know them. Memory is about chunk x n_items x 10 bytes.
    """
    users = np.flatnonzero(targets.sum(axis=1)).astype(np.int32)
    history = data.history()
    asked, columns = index_of(model.users, data.users[users]), _columns(model, data)
    everything, news = [], []
    for start in range(0, len(users), chunk):
        part = slice(start, start + chunk)
        scores = _scores(model, asked[part], columns, len(data.items))
        everything.append(top_k(scores, k, fallback=fallback))
        if new_items:
            news.append(top_k(scores, k, fallback=fallback, hide=history[users[part]]))
    wanted = sparse.csr_array(targets[users])
    measures = [("", everything, wanted)]
    if new_items:
        measures.append((NEW, news, sparse.csr_array(wanted > history[users])))
    per_user = {USER_KEY: pa.array(data.users[users].tolist(), pa.string())}
    summary: dict[str, float] = {}
    for prefix, lists, goal in measures:
        goal.eliminate_zeros()
        measured, averages = _measure(_joined(lists, k), goal, k)
        per_user |= {prefix + name: pa.array(values, from_pandas=True) for name, values in measured.items()}
        summary |= {prefix + name: value for name, value in averages.items()}
    return Evaluation(pa.table(per_user), summary)


def _columns(model: Recommender, data: TrainingData) -> NDArray[np.int32] | None:
    """Position in the model's items of each of the data's; None when they are the same."""
    return None if np.array_equal(model.items, data.items) else index_of(model.items, data.items)


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


def _joined(lists: list[Ranking], k: int) -> Ranking:
    if not lists:
        return top_k(np.empty((0, 0), dtype=np.float32), k)
    return Ranking(*(np.concatenate(arrays) for arrays in zip(*lists, strict=True)))


def _measure(ranking: Ranking, targets: Any, k: int) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    n_targets = np.diff(targets.indptr)
    per_user = {"targets": n_targets.astype(np.float64)}
    measured = accuracy(ranking.items, targets)
    per_user |= {f"{name}_at_{k}": measured[name] for name in METRICS}
    counted = n_targets > 0
    summary = {name: _mean(values[counted]) for name, values in per_user.items()}
    shown = np.unique(ranking.items[ranking.items >= 0])
    summary |= {
        "users": float(counted.sum()),
        f"coverage_at_{k}": len(shown) / max(1, targets.shape[1]),
        "distinct_lists": float(len(np.unique(ranking.items, axis=0))),
        "fallback_share": _mean(ranking.from_fallback),
    }
    return per_user, summary


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
