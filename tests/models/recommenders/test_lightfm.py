import numpy as np
import pytest

from models.datasets.training_data import TrainingData
from models.recommenders.lightfm import Config, LightFMHybrid


@pytest.fixture(scope="module")
def model(data: TrainingData) -> LightFMHybrid:
    return LightFMHybrid.fit(data, Config(), seed=0)


def test_it_learns_who_likes_what(model: LightFMHybrid, data: TrainingData) -> None:
    scores = model.scores(np.arange(len(data.users), dtype=np.int32))
    fruit, tools = scores[:, :20].mean(axis=1), scores[:, 20:40].mean(axis=1)
    assert (fruit > tools)[0::2].mean() > 0.95
    assert (fruit < tools)[1::2].mean() > 0.95


def test_tags_make_items_of_one_category_alike(data: TrainingData) -> None:
    def likeness(weight: float) -> float:
        model = LightFMHybrid.fit(data, Config(epochs=2, item_tag_weight=weight), seed=0)
        unit = model.item_factors / np.linalg.norm(model.item_factors, axis=1, keepdims=True)
        return float((unit[:20] @ unit[:20].T).mean())

    assert likeness(1.0) > likeness(0.0)


def test_data_without_tags_can_be_learned(small) -> None:
    model = LightFMHybrid.fit(small([("a", "x", 1, "1"), ("b", "y", 2, "2")]), Config(epochs=1), seed=0)
    assert np.isfinite(model.scores(np.array([0], dtype=np.int32))).all()
