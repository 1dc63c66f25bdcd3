"""Checks overfitting: accuracy on the training data compared with accuracy on the held-out weeks."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.training_data import TrainingData
from models.evaluation.comparison.paired import figures
from models.evaluation.metrics.bootstrap import Estimate, interval
from models.evaluation.metrics.ranking import METRICS
from models.evaluation.metrics.user_averages import with_bounds
from models.evaluation.offline import SEED, Evaluation, evaluate
from models.ranking.training_examples import TwoStageConfig, build_examples
from models.ranking.two_stage import TwoStage
from models.recommenders.protocols import Recommender

USERS: Final = 500
"""Largest sample of users."""


@dataclass(frozen=True)
class OverfitCheck:
    """The metrics of the same users on their last training purchases, and on their held-out purchases."""

    learned: dict[str, Estimate]
    """By metric."""
    held_out: dict[str, Estimate]
    gap: dict[str, Estimate]
    """`learned` less `held_out`, user by user."""

    def figures(self) -> dict[str, float]:
        """Return `train_<metric>` and `overfit_gap` (in the first metric), with their intervals."""
        estimates = {f"train_{metric}": figure for metric, figure in self.learned.items()}
        estimates["overfit_gap"] = next(iter(self.gap.values()))
        return {name: value for estimate in estimates.items() for name, value in with_bounds(*estimate).items()}


def check_overfit(
    model: Recommender,
    data: TrainingData,
    held_out: Evaluation,
    fallback: NDArray[np.float32],
    seconds: int,
) -> OverfitCheck | None:
    """Evaluate the model on the last `seconds` before the cut, as long as the held-out time.

    Return None if no user bought in both spans. Some gap is normal, because the last purchases are part of the history
    that any model counts. Only the part above the gap of own frequency is overfitting.
    """
    targets = learned_targets(data, data.cut - seconds)
    measured = data.user_index(held_out.per_user["user_key"])
    both = np.intersect1d(measured, np.flatnonzero(np.diff(targets.indptr)))
    if not len(both):
        return None
    users = np.sort(np.random.default_rng(SEED).permutation(both)[:USERS])
    learned = evaluate(model, data, restrict_targets(targets, users), fallback, brief=True)
    at = np.searchsorted(measured, users)
    names = [f"{metric}_at_10" for metric in METRICS]
    learned_values = {name: figures(learned, name) for name in names}
    held_out_values = {name: figures(held_out, name)[at] for name in names}
    gap = {name: learned_values[name] - held_out_values[name] for name in names}
    return OverfitCheck(
        *({name: _mean(values[name]) for name in names} for values in (learned_values, held_out_values, gap))
    )


def training_metrics(model: Recommender, data: TrainingData, seed: int) -> dict[str, float]:
    """Return the AUC of a two-stage model on the candidates that its ranker was trained on.

    `train_pairs_roc_auc` and `train_pairs_pr_auc` compare with the same names without `train_`, which are on held-out
    candidates. Training features end before the purchases, so a gap is due to the ranker. `seed` is that of the fit.
    """
    if not isinstance(model, TwoStage):
        return {}
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows, labels, weights = build_examples(data, TwoStageConfig.of(model.config), seed)
    predicted = model.ranker.probabilities(rows)
    areas = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}
    return {
        f"train_pairs_{name}": float(area(labels, predicted, sample_weight=weights)) for name, area in areas.items()
    }


def learned_targets(data: TrainingData, since: int) -> sparse.csr_array:
    """Return a boolean CSR [users, items] of the purchases from a moment (epoch s) up to the cut."""
    late = data.occurred_at >= since
    bought = np.ones(int(late.sum()), dtype=bool)
    return sparse.csr_array((bought, (data.user[late], data.item[late])), shape=(len(data.users), len(data.items)))


def restrict_targets(targets: sparse.csr_array, users: NDArray[Any]) -> sparse.csr_array:
    """Return the targets of these users only, in the same shape."""
    selected = np.zeros(targets.shape[0], dtype=bool)
    selected[users] = True
    return sparse.csr_array(sparse.diags_array(selected, dtype=bool) @ targets)


def _mean(values: NDArray[np.float64]) -> Estimate:
    return Estimate(float(values.mean()), *interval(values, SEED))
