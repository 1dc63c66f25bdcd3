"""Does a model foresee what it has not seen as well as what it has learned from?"""

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
"""A sample of so many users at most."""


@dataclass(frozen=True)
class OverfitCheck:
    """The same users' figures on the last purchases the model has learned from, and on the held-out ones."""

    learned: dict[str, Estimate]
    """By metric."""
    held_out: dict[str, Estimate]
    gap: dict[str, Estimate]
    """`learned` less `held_out`, user by user."""

    def figures(self) -> dict[str, float]:
        """`train_<metric>` and `overfit_gap` (in the first metric), with their intervals."""
        named = {f"train_{metric}": figure for metric, figure in self.learned.items()}
        named["overfit_gap"] = next(iter(self.gap.values()))
        return {name: value for told in named.items() for name, value in with_bounds(*told).items()}


def check_overfit(
    model: Recommender,
    data: TrainingData,
    held_out: Evaluation,
    fallback: NDArray[np.float32],
    seconds: int,
) -> OverfitCheck | None:
    """The model on its last `seconds` before the cut, as long as the held-out time; None when no user bought in both.

    Some gap is no fault: what a user bought last is in his history, and counting it is learning it by heart too. What
    a model's gap has above that of own frequency is over-fit.
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
    seen = {name: figures(learned, name) for name in names}
    unseen = {name: figures(held_out, name)[at] for name in names}
    gap = {name: seen[name] - unseen[name] for name in names}
    return OverfitCheck(*({name: _mean(values[name]) for name in names} for values in (seen, unseen, gap)))


def training_metrics(model: Recommender, data: TrainingData, seed: int) -> dict[str, float]:
    """Of a two-stage model the areas for the candidates that its ranker has learned from: `train_pairs_roc_auc` and
    `train_pairs_pr_auc`, to be read beside the same without `train_` on candidates of the held-out time.

    Features there are those of before the purchases, so that a gap is the ranker's own. `seed` is that of the fit.
    """
    if not isinstance(model, TwoStage):
        return {}
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows, labels, weights = build_examples(data, TwoStageConfig.of(model.config), seed)
    said = model.ranker.probabilities(rows)
    areas = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}
    return {f"train_pairs_{name}": float(area(labels, said, sample_weight=weights)) for name, area in areas.items()}


def learned_targets(data: TrainingData, since: int) -> Any:
    """Boolean CSR (users x items): what was bought from a moment (epoch s) up to the cut, which models have seen."""
    late = data.occurred_at >= since
    bought = np.ones(int(late.sum()), dtype=bool)
    return sparse.csr_array((bought, (data.user[late], data.item[late])), shape=(len(data.users), len(data.items)))


def restrict_targets(targets: Any, users: NDArray[Any]) -> Any:
    """The targets of these users alone, in the same shape."""
    kept = np.zeros(targets.shape[0], dtype=bool)
    kept[users] = True
    return sparse.csr_array(sparse.diags_array(kept, dtype=bool) @ targets)


def _mean(values: NDArray[np.float64]) -> Estimate:
    return Estimate(float(values.mean()), *interval(values, SEED))
