from dataclasses import replace

import numpy as np

from models.datasets.training_data import TrainingData
from models.ranking.candidate_features import RankerRows
from models.ranking.candidate_generation import ScoredCandidates


def category_columns(data: TrainingData, pairs: list[tuple[int, int]]) -> np.ndarray:
    """What is known of the categories of users' items: [n, 3]."""
    rows = RankerRows.of(data)
    user, item = (np.array(column) for column in zip(*pairs, strict=True))
    built = rows.build(
        user.astype(np.int32), ScoredCandidates(np.arange(len(pairs)), item, np.zeros((len(pairs), 1), np.float32))
    )
    names = RankerRows.names(("als",))
    return built[:, [names.index(name) for name in ("category_baskets", "category_share", "share_of_category")]]


def test_items_without_a_category_have_nothing_in_common(data: TrainingData) -> None:
    paths = data.item_categories.copy()
    paths[:30] = ""
    some = category_columns(replace(data, item_categories=paths), [(0, 3), (0, 29), (0, 42)])
    assert np.isnan(some[:2]).all()
    assert np.isfinite(some[2]).all()
    whole = category_columns(data, [(0, 42)])
    np.testing.assert_allclose(some[2], whole[0], rtol=1e-6)


def test_a_catalogue_without_categories_is_no_error(data: TrainingData) -> None:
    bare = replace(data, item_categories=np.full(len(data.items), ""))
    assert np.isnan(category_columns(bare, [(0, 0), (1, 7)])).all()
