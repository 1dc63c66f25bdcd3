"""Evaluates a model on newcomers, who bought for the first time in the held-out weeks and have only traits."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import ITEM_ID, USER_KEY
from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.holdout import targets
from models.datasets.known_purchases import known_before
from models.datasets.training_data import TrainingData
from models.evaluation.diagnostics.cold_start import cold_start_data
from models.evaluation.metrics.user_averages import HIGH, LOW, NEW, NEWCOMER
from models.evaluation.offline import Evaluation, evaluate
from models.recommenders.protocols import FoldsInUsers, Recommender


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
