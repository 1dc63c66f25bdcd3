import numpy as np
import pytest

from models import catalog
from models.catalog import CATALOG
from models.errors import NoHistoryError
from models.evaluation.diagnostics.learning_curve import affordable, learning_curve, subset_users
from tests.models.trainable import marked, quick_config

DAY = 86_400


def test_slow_models_are_fitted_on_fewer_parts() -> None:
    assert affordable(1) == (1 / 8, 1 / 4, 1 / 2)
    assert affordable(5) == (1 / 8, 1 / 4)
    assert affordable(10_000) == ()


def test_a_part_is_what_the_data_would_be_without_the_others(small) -> None:
    rows = [("a", "x", 10, "1"), ("a", "z", 11, "2"), ("c", "z", 12, "3"), ("c", "z", 13, "4")]
    whole = small([*rows, ("b", "y", 12, "5"), ("b", "x", 14, "5")], {"x": "X", "y": "Y", "z": "Z"})
    part, expected = subset_users(whole, np.array([2, 0])), small(rows, {"x": "X", "z": "Z"})
    names = ("users", "items", "user", "item", "occurred_at", "basket", "item_titles", "item_categories", "available")
    for name in names:
        assert getattr(part, name).tolist() == getattr(expected, name).tolist(), name
    assert part.item_tags.shape[0] == 2
    assert part.user_tags.shape[0] == 2


@pytest.mark.parametrize("kind", marked(sorted(set(CATALOG) - {"two_stage"})))  # it learns as logistic_regression does
def test_every_model_can_be_learned_from_a_part_of_the_users(kind: str, data, targets) -> None:
    model, config = catalog.model_type(kind), quick_config(kind)
    points = learning_curve(lambda less: model.fit(less, config, 0), model.fit(data, config, 0), data, targets)
    assert [(point.share, point.users) for point in points] == [(0.5, 30), (1.0, 60)]
    assert all(0 <= point.figure.low <= point.figure.value <= point.figure.high <= 1 for point in points)


def test_own_purchases_of_a_user_need_no_other_users(data, targets) -> None:
    model, config = catalog.model_type("own_frequency"), catalog.config("own_frequency")
    half, whole = learning_curve(lambda less: model.fit(less, config, 0), model.fit(data, config, 0), data, targets)
    assert half.figure.value == pytest.approx(whole.figure.value, abs=0.05)


def test_a_part_that_is_too_small_to_learn_from_is_left_out(data, targets) -> None:
    model, config = catalog.model_type("most_popular"), catalog.config("most_popular")

    def fit(_less):
        raise NoHistoryError("too little")

    fitted = model.fit(data, config, 0)
    assert learning_curve(fit, fitted, data, targets) == []
    assert learning_curve(lambda _less: fitted, fitted, data, targets, shares=(1 / 8,)) == []
