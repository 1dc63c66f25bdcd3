import statistics

import pytest

from models import catalog
from models.datasets.dataset import Dataset
from models.errors import TailorbirdError
from models.evaluation.cross_validation import (
    cross_validation_folds,
    folds_table,
    folds_title,
    mean_and_sd,
    measure,
)
from models.evaluation.offline import evaluate
from models.recommenders.baselines.most_popular import MostPopular
from tests.models.conftest import CUTS

DAY = 86_400


@pytest.fixture(scope="module")
def dataset(shop) -> Dataset:
    return Dataset(CUTS, *shop)


def test_folds_end_where_the_test_weeks_begin_and_are_as_long(dataset: Dataset) -> None:
    result = cross_validation_folds(dataset, 4)
    assert [fold.measured_until - fold.measured_from for fold in result] == [30 * DAY] * 4
    assert result[-1].measured_until == CUTS["test_from"]
    assert all(fold.train_until == fold.measured_from for fold in result)
    assert cross_validation_folds(dataset, 5, horizon_days=7)[0].measured_from == CUTS["test_from"] - 35 * DAY


def test_too_few_folds_and_too_little_history_are_refused(dataset: Dataset) -> None:
    with pytest.raises(TailorbirdError, match="at least 2 folds"):
        cross_validation_folds(dataset, 1)
    with pytest.raises(TailorbirdError, match="fewer folds"):
        cross_validation_folds(dataset, 6)


def test_a_fold_is_a_model_learned_before_it_and_measured_on_it(dataset: Dataset) -> None:
    model = catalog.model_type("own_frequency")
    cuts = []

    def fit(data):
        cuts.append(data.cut)
        return model.fit(data, catalog.config("own_frequency"), 0)

    folds = cross_validation_folds(dataset, 4)
    result = list(measure(fit, dataset, folds))
    assert cuts == [fold.train_until for fold in folds]
    data = dataset.training_data(folds[1].train_until)
    targets = dataset.holdout(data, folds[1].measured_until)
    popular = MostPopular.fit(data, MostPopular.config_type(), 0).popularity
    expected = evaluate(fit(data), data, targets, popular).summary
    assert result[1] == {name: expected[name] for name in result[1]}
    assert {"ndcg_at_10", "new_ndcg_at_10", "roc_auc", "gini_at_10", "users"} <= result[1].keys()
    assert not [name for name in result[1] if "warm_" in name or name.endswith("_low")]


def fold(ndcg: float, day: int) -> dict[str, float]:
    others = {"new_ndcg_at_10": ndcg / 10, "recall_at_10": 0.1, "hit_rate_at_10": 0.8}
    return {"measured_from": day * DAY, "measured_until": (day + 7) * DAY, "ndcg_at_10": ndcg, **others}


POPULAR = [fold(ndcg, 7 * week) for week, ndcg in enumerate((0.1, 0.2, 0.3, 0.2))]
BETTER = [fold(ndcg, 7 * week) for week, ndcg in enumerate((0.2, 0.3, 0.4, 0.4))]


def test_the_deviation_is_that_of_a_sample() -> None:
    result = mean_and_sd(POPULAR)
    assert result["ndcg_at_10_mean"] == pytest.approx(0.2)
    assert result["ndcg_at_10_sd"] == pytest.approx(statistics.stdev((0.1, 0.2, 0.3, 0.2)))


def test_gains_are_taken_fold_by_fold() -> None:
    first, second = folds_table({"als": BETTER, "most_popular": POPULAR})
    assert (first["model"], first["NDCG@10"], first["NDCG@10, gain"]) == ("most_popular", "0.2000 ± 0.0816", "")
    assert second["NDCG@10, gain"] == "+0.1250 ± 0.0500"  # of 0.1, 0.1, 0.1 and 0.2
    assert second["new items, gain"] == "+0.0125 ± 0.0050"
    *_, last = folds_table({"als": POPULAR, "most_popular": BETTER, "own_frequency": POPULAR})
    assert last["NDCG@10, gain"] == "-0.1250 ± 0.0500"  # over the best above, not the last
    assert sum(max(len(name), len(cell)) + 3 for name, cell in second.items()) <= 110
    assert folds_title({"als": BETTER}).startswith(
        "Mean ± sd over 4 folds, 1970-01-01 00:00 UTC to 1970-01-29 00:00 UTC"
    )
