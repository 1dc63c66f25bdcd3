"""Measures a fitted model in every way that a reviewer sees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.feature_importance import Importance, feature_importance
from models.evaluation.diagnostics.learning_curve import Point, affordable, learning_curve
from models.evaluation.diagnostics.new_users import evaluate_newcomers, newcomer_metrics
from models.evaluation.diagnostics.overfitting import OverfitCheck, check_overfit, training_metrics
from models.evaluation.metrics.bootstrap import Estimate
from models.evaluation.metrics.user_averages import with_bounds
from models.evaluation.offline import SEED, Evaluation, evaluate
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender


@dataclass(frozen=True)
class ModelReport:
    """The metrics of a model on the held-out weeks, and on its training data."""

    evaluation: Evaluation
    """The summary also has the figures of newcomers, of pairs (`pairs_`) and of the overfit check."""
    pairs: dict[str, Estimate]
    overfit: OverfitCheck | None
    curve: list[Point]
    importance: list[Importance]

    @classmethod
    def of(
        cls,
        fitted: Recommender,
        dataset: Dataset,
        data: TrainingData,
        fit: Callable[[TrainingData], Recommender],
        fit_seconds: float,
        seed: int,
    ) -> Self:
        """Measure a model that was fitted to `data` on the later purchases of the data set.

        `fit` fits another model of the same settings; `seed` is the seed of the fit.
        """
        end = dataset.cuts.as_of
        targets = dataset.holdout(data, end)
        popular = popularity(data)
        evaluation = evaluate(fitted, data, targets, popular)
        pairs = evaluation.pairs.figures(SEED) if evaluation.pairs else {}
        overfit = check_overfit(fitted, data, evaluation, popular, end - data.cut)
        summary = evaluation.summary | newcomer_metrics(evaluate_newcomers(fitted, dataset, data, popular, end))
        summary |= {name: value for estimate in pairs.items() for name, value in with_bounds(*estimate).items()}
        summary |= overfit.figures() if overfit else {}
        summary |= training_metrics(fitted, data, seed) if pairs else {}
        curve = learning_curve(fit, fitted, data, targets, affordable(fit_seconds))
        importance = feature_importance(fitted, evaluation, SEED)
        return cls(replace(evaluation, summary=summary), pairs, overfit, curve, importance)
