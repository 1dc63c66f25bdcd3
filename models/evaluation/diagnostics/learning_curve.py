"""Computes a learning curve: models fitted on parts of the users, measured on the same users each time."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.datasets.training_data import Origin, T, TrainingData
from models.errors import NoHistoryError
from models.evaluation.comparison.paired import figures
from models.evaluation.diagnostics.overfitting import restrict_targets
from models.evaluation.metrics.bootstrap import Estimate, interval
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import SEED, evaluate
from models.features.tables.registry import FeatureTables
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender

if TYPE_CHECKING:
    from scipy import sparse

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
    values = figures(evaluate(model, data, measured_targets, popular, brief=True), METRIC)
    return Estimate(float(values.mean()), *interval(values, SEED))


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
        origin=data.origin and _Part(data.origin, data.users[selected]),
    )


@dataclass(frozen=True)
class _Part:
    """The origin of the data of some users."""

    whole: Origin
    keys: NDArray[np.str_]

    def traits(self, cut: int) -> pa.Table:
        return self.whole.traits(cut)

    def training_data(self, cut: int) -> TrainingData:
        data = self.whole.training_data(cut)
        at = data.user_index(self.keys)
        return subset_users(data, at[at >= 0])

    def features(self, cut: int) -> FeatureTables:
        return self.whole.features(cut)

    def acts(self, cut: int) -> pa.Table | None:
        return self.whole.acts(cut)

    def before(self, cut: int, days: int) -> int:
        return self.whole.before(cut, days)

    def holdout(self, data: TrainingData, end: int) -> Any:
        return self.whole.holdout(data, end)

    def once(self, _key: Hashable, work: Callable[[], T], keep: bool = False) -> T:  # noqa: ARG002 -- as data sets do
        return work()  # the cache of the whole data covers other users, and a part is fitted once
