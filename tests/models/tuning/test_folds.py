from itertools import pairwise

import pytest

from models.datasets.dataset import Dataset
from models.evaluation.offline import evaluate
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.tuning.folds import FoldData, artifact_mb, search_folds
from tests.models.conftest import CUTS, make_shop

DAY = 86_400


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(CUTS, *make_shop(seed=1))


def test_the_validation_weeks_come_first_and_none_reaches_into_the_test(dataset: Dataset) -> None:
    cuts, folds = dataset.cuts, search_folds(dataset, 3)
    assert (folds[0].train_until, folds[0].measured_until) == (cuts.validation_from, cuts.test_from)
    for later, fold in pairwise(folds):
        assert fold.measured_until == later.train_until
    assert len({fold.measured_until - fold.measured_from for fold in folds}) == 1


def test_folds_without_four_weeks_to_learn_from_are_left_out(dataset: Dataset) -> None:
    earliest = min(dataset.interactions["occurred_at"].to_pylist())
    folds = search_folds(dataset, 500)
    assert all(fold.train_until - earliest >= 28 * DAY for fold in folds[1:])
    assert folds[-1].train_until - earliest < 28 * DAY + (dataset.cuts.test_from - dataset.cuts.validation_from)


def test_settings_are_measured_as_models_are(dataset: Dataset) -> None:
    opened = FoldData.of(dataset, search_folds(dataset, 1)[0])
    model = MostPopular.fit(opened.data, MostPopular.config_type(), 7)
    data = dataset.training_data(dataset.cuts.validation_from)
    whole = evaluate(model, data, dataset.holdout(data, dataset.cuts.test_from), popularity(data)).summary
    assert opened.figures(model) == {name: whole[name] for name in ("ndcg_at_10", "coverage_at_10")}
    assert artifact_mb(model) == sum(values.nbytes for values in model.state().values()) / 1e6
