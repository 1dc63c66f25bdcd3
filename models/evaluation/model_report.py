"""Measures a fitted model in every way that a reviewer sees."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from models.columns import ITEM_ID, USER_KEY
from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.training_data import Origin, T, TrainingData, known_before, targets
from models.errors import NoHistoryError
from models.evaluation.comparison import figures
from models.evaluation.metrics.bootstrap import (
    HIGH,
    LOW,
    NEW,
    NEWCOMER,
    REPEAT,
    Estimate,
    intervals_of_ratios,
    mean_of,
    with_bounds,
)
from models.evaluation.metrics.ranking import METRIC, METRICS
from models.evaluation.offline import SEED, Evaluation, evaluate
from models.primitives.vocabulary import index_of, words
from models.ranking.ranking_examples import TwoStageConfig, build_examples
from models.ranking.two_stage import TwoStage
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import BASE_VALUE, Attributes, FoldsInUsers, Recommender

OVERFIT_USERS: Final = 500
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
        return with_bounds(estimates)


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
    users = np.sort(np.random.default_rng(SEED).permutation(both)[:OVERFIT_USERS])
    learned = evaluate(model, data, restrict_targets(targets, users), fallback, brief=True)
    at = np.searchsorted(measured, users)
    names = [f"{metric}_at_10" for metric in METRICS]
    learned_values = {name: figures(learned, name) for name in names}
    held_out_values = {name: figures(held_out, name)[at] for name in names}
    gap = {name: learned_values[name] - held_out_values[name] for name in names}
    return OverfitCheck(
        *({name: mean_of(values[name], SEED) for name in names} for values in (learned_values, held_out_values, gap))
    )


def training_metrics(model: Recommender, data: TrainingData, seed: int) -> dict[str, float]:
    """Return the AUC of a two-stage model on the candidates that its ranker was trained on.

    `train_pairs_roc_auc` and `train_pairs_pr_auc` compare with the same names without `train_`, which are on held-out
    candidates. Training features end before the purchases, so a gap is due to the ranker. `seed` is that of the fit.
    """
    if not isinstance(model, TwoStage):
        return {}
    from sklearn.metrics import average_precision_score, roc_auc_score

    learned = build_examples(data, TwoStageConfig.of(model.config), seed).examples
    predicted = model.ranker.probabilities(learned.rows)
    areas = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score}
    return {
        f"train_pairs_{name}": float(area(learned.labels, predicted, sample_weight=learned.weights))
        for name, area in areas.items()
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


SHARES: Final = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the users; the result for all users is known already."""
SECONDS: Final = 2.0
"""Time limit of all fits on parts; a slow model gets few or none."""
MIN_USERS: Final = 20
"""Users that a measurement needs."""


class Point(NamedTuple):
    """A fit on a part of the users."""

    share: float
    users: int
    """Users that the model was fitted on."""
    figure: Estimate
    """The metric `METRIC`."""


def affordable(fit_seconds: float) -> tuple[float, ...]:
    """Return the shares that fit into the time limit, given the time of a fit on all users."""
    spent = np.cumsum(SHARES) * fit_seconds
    return tuple(share for share, cost in zip(SHARES, spent, strict=True) if cost <= SECONDS)


def learning_curve(
    fit: Callable[[TrainingData], Recommender],
    fitted: Recommender,
    data: TrainingData,
    targets: "sparse.csr_array",
    shares: Sequence[float] = SHARES,
) -> list[Point]:
    """Return points by rising share of the users; the last one is of `fitted`, which was fitted on all users.

    Each part contains the smaller ones. All points are measured on the smallest part with at least `MIN_USERS` users
    with `targets`. Smaller parts, and parts that the model cannot be fitted on, are left out.
    """
    shuffled = np.random.default_rng(SEED).permutation(len(data.users))
    has_targets = np.diff(targets.indptr) > 0
    parts = [shuffled[: round(share * len(shuffled))] for share in shares]
    large_enough = [
        (share, part) for share, part in zip(shares, parts, strict=True) if has_targets[part].sum() >= MIN_USERS
    ]
    if not large_enough:
        return []
    measured_targets = restrict_targets(targets, large_enough[0][1])
    points = list(_points(fit, data, measured_targets, large_enough))
    popular = popularity(data)
    return [*points, Point(1.0, len(data.users), _measured(fitted, data, measured_targets, popular))] if points else []


def _points(
    fit: Callable[[TrainingData], Recommender],
    data: TrainingData,
    measured_targets: "sparse.csr_array",
    parts: list[tuple[float, NDArray[Any]]],
) -> Iterator[Point]:
    for share, users in parts:
        subset = subset_users(data, users)
        try:
            model = fit(subset)
        except NoHistoryError:
            continue
        popular = np.zeros(len(data.items), dtype=np.float32)
        popular[data.item_index(subset.items)] = popularity(subset)
        yield Point(share, len(subset.users), _measured(model, data, measured_targets, popular))


def _measured(
    model: Recommender, data: TrainingData, measured_targets: "sparse.csr_array", popular: NDArray[np.float32]
) -> Estimate:
    return mean_of(figures(evaluate(model, data, measured_targets, popular, brief=True), METRIC), SEED)


def subset_users(data: TrainingData, users: NDArray[Any]) -> TrainingData:
    """Return the data of these users (positions) only, with the items that they had.

    Item features that the origin computes still cover all users.
    """
    selected = np.zeros(len(data.users), dtype=bool)
    selected[users] = True
    rows = selected[data.user]
    items = np.unique(data.item[rows])
    return TrainingData(
        users=data.users[selected],
        items=data.items[items],
        user=(np.cumsum(selected) - 1)[data.user[rows]].astype(np.int32),
        item=np.searchsorted(items, data.item[rows]).astype(np.int32),
        occurred_at=data.occurred_at[rows],
        basket=np.unique(data.basket[rows], return_inverse=True)[1].astype(np.int32),
        user_tags=data.user_tags[np.flatnonzero(selected)],
        item_tags=data.item_tags[items],
        user_tag_rules=data.user_tag_rules,
        item_tag_rules=data.item_tag_rules,
        item_titles=data.item_titles[items],
        item_categories=data.item_categories[items],
        available=data.available[items],
        cut=data.cut,
        origin=data.origin and cast(Origin, _Part(data.origin, data.users[selected])),
    )


@dataclass(frozen=True)
class _Part:
    """The origin of the data of some users: it differs from that of all users by the training data alone."""

    whole: Origin
    keys: NDArray[np.str_]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def training_data(self, cut: int) -> TrainingData:
        data = self.whole.training_data(cut)
        at = data.user_index(self.keys)
        return subset_users(data, at[at >= 0])

    def once(self, _key: Hashable, work: Callable[[], T], keep: bool = False) -> T:  # noqa: ARG002 -- as data sets do
        return work()  # the cache of the whole data covers other users, and a part is fitted once


USERS: Final = 50
"""Users whose shown items are examined: the first by key. Keys are pseudonyms, so their order is random."""


class Importance(NamedTuple):
    """The effect of one feature on all shown items."""

    feature: str
    moves: Estimate
    """Mean absolute change of an item's log-odds."""
    adds: float
    """Mean signed change: near 0 if the feature raises some items as much as it lowers others."""


def feature_importance(model: Recommender, evaluation: Evaluation, seed: int) -> list[Importance]:
    """Return the features of a model that explains its scores, the strongest first; empty for other models.

    Only the first ten evaluated places count, without those that the fallback filled. Intervals are by user.
    """
    sample = evaluation.per_user.slice(0, USERS)
    if not isinstance(model, Attributes) or not sample.num_rows:
        return []
    shown = sample["items_at_10"].combine_chunks()
    user = np.repeat(np.arange(sample.num_rows), np.asarray(shown.value_lengths()))
    keys, items = index_of(model.users, words(sample[USER_KEY])), index_of(model.items, words(shown.flatten()))
    names, added = model.attributions(keys[user], items)
    finite = np.isfinite(added).all(axis=1)
    features = np.array([name != BASE_VALUE for name in names])
    added, user = added[finite][:, features].astype(np.float64), user[finite]
    if not len(user):
        return []
    indicator = (np.arange(sample.num_rows)[:, None] == user).astype(np.float64)
    moved, count = indicator @ np.abs(added), np.repeat(indicator.sum(axis=1)[:, None], features.sum(), axis=1)
    low, high = intervals_of_ratios(moved, count, seed)
    figures = zip(
        np.array(names)[features].tolist(), np.abs(added).mean(axis=0), low, high, added.mean(axis=0), strict=True
    )
    weights = [Importance(name, Estimate(*map(float, figure)), float(mean)) for name, *figure, mean in figures]
    return sorted(weights, key=lambda weight: -weight.moves.value)


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
        summary |= with_bounds(pairs) | (overfit.figures() if overfit else {})
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

    Figures by kind of items are left out because every item is new to them. Figures on rarity need users with history.
    """
    if not evaluation.per_user.num_rows:
        return {}
    excluded = (NEW, REPEAT, "novelty_", "long_tail_")
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
