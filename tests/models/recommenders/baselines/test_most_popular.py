import numpy as np
import pytest

from models.recommenders.baselines.most_popular import Config, MostPopular


def test_a_basket_one_half_life_old_counts_half(small) -> None:
    data = small([("a", "x", 72, "1"), ("b", "x", 44, "2"), ("b", "y", 100 - 1e-3, "3")])
    model = MostPopular.fit(data, Config(half_life_days=28), seed=0)
    np.testing.assert_allclose(model.popularity, [0.5 + 0.25, 1], rtol=1e-4)


def test_the_half_life_decides_between_old_and_new_favourites(small) -> None:
    data = small([("a", "old", 50, "1"), ("b", "old", 50, "2"), ("a", "new", 99, "3")])
    best = [int(MostPopular.fit(data, Config(h), 0).popularity.argmax()) for h in (7, 1000)]
    assert data.items[best].tolist() == ["new", "old"]


def test_a_long_forgotten_item_is_still_scored(small) -> None:
    data = small([("a", "x", 0, "1"), ("a", "y", 99, "2")])
    scores = MostPopular.fit(data, Config(half_life_days=0.1), 0).scores(np.array([0], dtype=np.int32))
    assert scores[0].tolist() == pytest.approx([0, 2**-10], rel=1e-3)
