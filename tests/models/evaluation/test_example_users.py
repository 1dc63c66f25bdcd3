from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.example_users import examples
from models.evaluation.offline import Evaluation, evaluate
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.protocols import Recommender
from tests.models.conftest import CUTS, Shop


@pytest.fixture(scope="module")
def dataset(shop: Shop) -> Dataset:
    return Dataset(CUTS, *shop)


@pytest.fixture(scope="module")
def both(data: TrainingData, targets: Any, popularity: NDArray[np.float32]) -> tuple[Evaluation, Evaluation]:
    def of(model: type[Recommender]) -> Evaluation:
        return evaluate(model.fit(data, model.config_type(), 0), data, targets, popularity)

    return of(OwnFrequency), of(MostPopular)


def ndcg(shown: list[str], bought: list[str]) -> float:
    gained = sum(1 / np.log2(place + 2) for place, item in enumerate(shown) if item in bought)
    best = sum(1 / np.log2(place + 2) for place in range(min(len(shown), len(bought))))
    return float(gained / best)


def test_the_purchases_of_an_example_are_those_that_its_figure_was_measured_by(both: Any, dataset: Dataset) -> None:
    result = examples(*both, dataset)
    assert len(result) == 10
    for one in result:
        assert one.candidate.figure == pytest.approx(ndcg(one.candidate.items, one.bought))
        assert one.reference.figure == pytest.approx(ndcg(one.reference.items, one.bought))


def test_examples_are_the_users_in_the_middle_of_each_tenth_by_gain(dataset: Dataset) -> None:
    gains = np.random.default_rng(1).permutation(100)
    keys = [f"u{number:03}" for number in range(100)]

    def of(values: NDArray[Any]) -> Evaluation:
        columns = {"user_key": keys, "baskets": [3] * 100, "ndcg_at_10": values, "items_at_10": [["i01"]] * 100}
        return Evaluation(pa.table(columns), {})

    result = examples(of(gains / 100), of(np.zeros(100)), dataset)
    assert [round(one.candidate.figure * 100) for one in result] == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    turned = examples(of(np.zeros(100)), of(gains / 100), dataset)
    assert turned[0].user_key != result[0].user_key
    assert turned[0].reference.figure > turned[-1].reference.figure


def test_examples_name_the_items_that_were_bought_before(both: Any, dataset: Dataset, data: TrainingData) -> None:
    history = data.history()
    for one in examples(*both, dataset):
        (user,) = data.user_index(np.array([one.user_key]))
        assert one.bought_before == set(data.items[history[[user]].indices])


def test_fewer_people_than_places_are_all_shown(both: Any, dataset: Dataset) -> None:
    few = [Evaluation(each.per_user.slice(0, 3), each.summary) for each in both]
    assert len({one.user_key for one in examples(*few, dataset)}) == 3


def test_people_who_were_not_measured_by_both_are_left_out(both: Any, dataset: Dataset) -> None:
    own, popular = both
    half = Evaluation(popular.per_user.slice(0, 5), popular.summary)
    assert len(examples(own, half, dataset)) == 5
    assert examples(own, Evaluation(popular.per_user.slice(0, 0), popular.summary), dataset) == []


def test_without_the_lists_there_is_nothing_to_show(both: Any, dataset: Dataset) -> None:
    own, popular = both
    assert examples(own, Evaluation(popular.per_user.drop_columns(["items_at_10"]), popular.summary), dataset) == []
