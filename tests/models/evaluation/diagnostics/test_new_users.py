from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models import catalog
from models.datasets.dataset import Dataset
from models.evaluation.diagnostics.model_report import evaluate_newcomers, newcomer_metrics
from models.recommenders.baselines.most_popular import MostPopular
from tests.models.conftest import CUT, CUTS

HELD = ["u002", "u003", "u004"]
END = CUTS["as_of"]


@pytest.fixture(scope="module")
def dataset(shop) -> Dataset:
    """Return the shop with three users who came after the cut, one of them without traits."""
    rows = shop.interactions
    gone = pc.and_(pc.is_in(rows["user_key"], pa.array(HELD)), pc.less(rows["occurred_at"], CUT))
    users = shop.users.filter(pc.not_equal(shop.users["user_key"], "u003"))
    return Dataset(CUTS, rows.filter(pc.invert(gone)), users, shop.items)


@pytest.fixture(scope="module")
def measured(dataset: Dataset) -> Callable[[str], tuple[object, np.ndarray]]:
    data = dataset.training_data(CUT)
    popular = MostPopular.fit(data, MostPopular.config_type(), 0).popularity

    def of(kind: str):
        model = catalog.model_type(kind).fit(data, catalog.config(kind), 0)
        return evaluate_newcomers(model, dataset, data, popular, END)

    return of


def test_newcomers_are_those_who_bought_nothing_before(measured) -> None:
    result = measured("most_popular")
    assert result.per_user["user_key"].to_pylist() == HELD
    assert result.per_user["baskets"].to_pylist() == [0, 0, 0]
    assert result.summary["ndcg_at_10"] > 0


def test_a_model_that_knows_nobody_new_shows_what_is_popular(measured) -> None:
    popular, own = measured("most_popular"), measured("own_frequency")
    assert own.per_user["ndcg_at_10"].equals(popular.per_user["ndcg_at_10"])
    assert own.summary["fallback_share"] == 1


def test_a_model_that_folds_users_in_scores_those_with_traits(measured) -> None:
    result = measured("lightfm_hybrid")
    assert result.summary["fallback_share"] == pytest.approx(1 / 3)


def test_their_figures_carry_their_name_and_everything_is_new_to_them(measured) -> None:
    figures = newcomer_metrics(measured("most_popular"))
    assert figures["newcomer_users"] == 3
    assert figures["newcomer_ndcg_at_10_low"] <= figures["newcomer_ndcg_at_10"] <= figures["newcomer_ndcg_at_10_high"]
    assert not [name for name in figures if "new_" in name.removeprefix("newcomer_")]


def test_without_newcomers_there_are_no_figures(shop) -> None:
    dataset = Dataset(CUTS, shop.interactions, shop.users, shop.items)
    data = dataset.training_data(CUT)
    model = MostPopular.fit(data, MostPopular.config_type(), 0)
    assert newcomer_metrics(evaluate_newcomers(model, dataset, data, model.popularity, END)) == {}
