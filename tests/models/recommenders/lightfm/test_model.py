import numpy as np
import pytest

from models.datasets.training_data import TrainingData
from models.recommenders.lightfm.model import Config, LightFMHybrid


@pytest.fixture(scope="module")
def model(data: TrainingData) -> LightFMHybrid:
    return LightFMHybrid.fit(data, Config(), seed=0)


def test_it_learns_who_likes_what(model: LightFMHybrid, data: TrainingData) -> None:
    scores = model.scores(np.arange(len(data.users), dtype=np.int32))
    fruit, tools = scores[:, :20].mean(axis=1), scores[:, 20:40].mean(axis=1)
    assert (fruit > tools)[0::2].mean() > 0.95
    assert (fruit < tools)[1::2].mean() > 0.95


def test_another_seed_gives_another_model(model: LightFMHybrid, data: TrainingData) -> None:
    other = LightFMHybrid.fit(data, Config(), seed=1)
    assert not np.array_equal(other.item_factors, model.item_factors)


def test_tags_make_items_of_one_category_alike(data: TrainingData) -> None:
    def likeness(weight: float) -> float:
        model = LightFMHybrid.fit(data, Config(epochs=2, item_tag_weight=weight), seed=0)
        unit = model.item_factors / np.linalg.norm(model.item_factors, axis=1, keepdims=True)
        return float((unit[:20] @ unit[:20].T).mean())

    assert likeness(1.0) > likeness(0.0)


def test_data_without_tags_can_be_learned(small) -> None:
    model = LightFMHybrid.fit(small([("a", "x", 1, "1"), ("b", "y", 2, "2")]), Config(epochs=1), seed=0)
    assert np.isfinite(model.scores(np.array([0], dtype=np.int32))).all()


def test_scores_are_products_of_the_factors_plus_biases(model: LightFMHybrid) -> None:
    expected = float(model.user_factors[3].astype(np.float64) @ model.item_factors[7].astype(np.float64))
    expected += float(model.user_biases[3]) + float(model.item_biases[7])
    assert model.scores(np.array([3], dtype=np.int32))[0, 7] == pytest.approx(expected, rel=1e-4)


def test_reasons_name_a_category_with_evidence_or_claim_nothing(model: LightFMHybrid) -> None:
    users, items = np.array([0, 0, 1, -1], np.int32), np.array([3, 25, 25, 3], np.int32)
    own, other, tools, stranger = model.reasons(users, items)
    assert own.startswith("You bought from fruit on ")
    assert tools.startswith("You bought from Tools on ")
    assert other == stranger == "You may like this"


def test_a_catalogue_without_categories_still_has_reasons(small) -> None:
    model = LightFMHybrid.fit(small([("a", "x", 1, "1"), ("b", "y", 2, "2")]), Config(epochs=1), seed=0)
    assert model.reasons(np.array([0], np.int32), np.array([1], np.int32)) == ["You may like this"]
