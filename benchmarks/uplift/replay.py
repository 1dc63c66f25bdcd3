"""Replays the last weeks of the demo's data: what each model's lists would have held of what users bought then.

Nobody saw these lists. So a hit shows that a list fits what a user wanted, and no purchase that a list caused.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.installation import journey
from benchmarks.results import publish, show
from models import catalog
from models.columns import ITEM_ID, USER_KEY, VALUE
from models.datasets.dataset import Dataset
from models.datasets.training_data import known_before
from models.evaluation.comparison import figures
from models.evaluation.metrics.bootstrap import NEW, Estimate, estimates, intervals_of_ratios
from models.evaluation.offline import LISTS, Evaluation, evaluate
from models.recommenders.baselines.most_popular import popularity

SEED: Final = 7
BASE: Final = "segment_popular"
MODELS: Final = (BASE, "most_popular", "own_frequency", "two_stage")
"""The last one is the champion."""
PRECISION: Final = "precision_at_10"
VALUE_OF_HITS: Final = "value_at_10"


def evaluated(dataset: Dataset) -> dict[str, Evaluation]:
    """Return the evaluation of each model on the test weeks."""
    data = dataset.training_data(dataset.cuts.test_from)
    targets, popular = dataset.holdout(data, dataset.cuts.as_of), popularity(data)
    return {kind: evaluate(catalog.fit(kind, data, {}, SEED), data, targets, popular) for kind in MODELS}


def value_of_hits(dataset: Dataset, evaluation: Evaluation) -> NDArray[np.float64]:
    """Return [users] the money that each user spent in the test weeks on the items of their list."""
    shown, cuts = evaluation.per_user, dataset.cuts
    rows = known_before(dataset.interactions, cuts.as_of, since=cuts.test_from)
    spent = rows.group_by([USER_KEY, ITEM_ID]).aggregate([(VALUE, "sum")])
    listed = pa.table({"row": pc.list_parent_indices(shown[LISTS]), ITEM_ID: pc.list_flatten(shown[LISTS])})
    listed = listed.append_column(USER_KEY, shown[USER_KEY].take(listed["row"]))
    hits = listed.join(spent, [USER_KEY, ITEM_ID], join_type="inner")
    value = np.asarray(hits[f"{VALUE}_sum"], dtype=np.float64)
    counted = np.bincount(np.asarray(hits["row"]), np.nan_to_num(value), minlength=shown.num_rows)
    by_user: NDArray[np.float64] = counted.astype(np.float64)
    return by_user


def change(values: NDArray[np.float64], base: NDArray[np.float64]) -> Estimate:
    """Return the relative change of a mean, with its paired bootstrap interval, over users with both."""
    known = np.isfinite(values) & np.isfinite(base)
    above, below = values[known][:, None], base[known][:, None]
    low, high = intervals_of_ratios(above, below, SEED)[:, 0].tolist()
    return Estimate(float(above.sum() / below.sum()) - 1, low - 1, high - 1)


def run() -> None:
    """Measure, print, and write var/benchmarks/uplift_replay.json."""
    with journey() as dataset:
        evaluations = evaluated(dataset)
        values = {kind: value_of_hits(dataset, one) for kind, one in evaluations.items()}
    measured = {
        PRECISION: {kind: figures(one, PRECISION) for kind, one in evaluations.items()},
        NEW + PRECISION: {kind: figures(one, NEW + PRECISION) for kind, one in evaluations.items()},
        VALUE_OF_HITS: values,
    }
    result: dict[str, float] = {}
    for metric, by_model in measured.items():
        means = estimates(by_model, SEED)
        rows = []
        for kind, mean in means.items():
            than_base = change(by_model[kind], by_model[BASE])
            text = "" if kind == BASE else "{:+.1%} ({:+.1%} to {:+.1%})".format(*than_base)
            rows.append((kind, f"{mean.value:.4f} ({mean.low:.4f} to {mean.high:.4f})", text))
            result |= {f"{metric}_{kind}": mean.value, f"{metric}_{kind}_change": than_base.value}
            result |= {f"{metric}_{kind}_change_low": than_base.low, f"{metric}_{kind}_change_high": than_base.high}
        show(f"{metric}, replay of the demo's test weeks", ("model", "mean (95 %)", f"against {BASE} (95 %)"), rows)
    publish("uplift_replay", result | {"users": float(len(values[BASE]))}, SEED)
