"""Measures a fitted model in every way that a reviewer sees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import ITEM_ID, USER_KEY
from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData, known_before, targets
from models.evaluation.diagnostics.feature_importance import Importance, feature_importance
from models.evaluation.diagnostics.learning_curve import Point, affordable, learning_curve
from models.evaluation.diagnostics.overfitting import OverfitCheck, check_overfit, training_metrics
from models.evaluation.metrics.bootstrap import Estimate
from models.evaluation.metrics.user_averages import HIGH, LOW, NEW, NEWCOMER, with_bounds
from models.evaluation.offline import SEED, Evaluation, evaluate
from models.primitives.vocabulary import words
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import FoldsInUsers, Recommender


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


def evaluate_newcomers(
    model: Recommender, dataset: Dataset, data: TrainingData, fallback: NDArray[np.float32], end: int, k: int = 10
) -> Evaluation:
    """Evaluate the model on users without history at the cut who bought something up to `end` (epoch s).

    A model that folds users in gets their traits; for other models the fallback fills all places.
    """
    traits = traits_of(dataset, _first_seen(dataset.interactions, data, end))
    frame = cold_start_data(data, traits)
    if isinstance(model, FoldsInUsers):
        no_events = dataset.interactions.select([USER_KEY, ITEM_ID]).slice(0, 0)
        model = model.with_users(NewUsers.of(traits, no_events, model.items))
    return evaluate(model, frame, targets(dataset.interactions, frame, data.cut, end), fallback, k)


def newcomer_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the means of newcomers, prefixed `newcomer_`; empty without newcomers.

    Figures on new items are left out because every item is new to them. Figures on rarity need users with history.
    """
    if not evaluation.per_user.num_rows:
        return {}
    excluded = (NEW, "novelty_", "long_tail_")
    means = {name for name in evaluation.per_user.column_names if not name.startswith(excluded)} | {"users"}
    names = [name for name in evaluation.summary if name.removesuffix(LOW).removesuffix(HIGH) in means]
    return {NEWCOMER + name: evaluation.summary[name] for name in names}


def _first_seen(interactions: pa.Table, data: TrainingData, end: int) -> pa.Array:
    """Return the sorted keys of users without history who bought something from the cut up to `end`."""
    keys = pc.unique(known_before(interactions, end, since=data.cut)[USER_KEY]).drop_null()
    return keys.filter(pa.array(data.user_index(keys) < 0)).sort()


def traits_of(dataset: Dataset, keys: pa.Array) -> pa.Table:
    """Return one row per key; nulls for unknown traits."""
    rows = dataset.users.take(pc.index_in(keys, value_set=dataset.users[USER_KEY].cast(keys.type)))
    return rows.set_column(rows.schema.get_field_index(USER_KEY), USER_KEY, keys)


def cold_start_data(data: TrainingData, traits: pa.Table) -> TrainingData:
    """Return the same data with the users of `traits` (`user_key` and traits) in place of its users, without events."""
    ordered = traits.sort_by(USER_KEY)
    return replace(
        data,
        users=words(ordered[USER_KEY]),
        user_tags=data.user_tag_rules.encode(ordered),
        user=np.empty(0, dtype=np.int32),
        item=np.empty(0, dtype=np.int32),
        occurred_at=np.empty(0, dtype=np.int64),
        basket=np.empty(0, dtype=np.int32),
    )
