"""Measures products that are new in the test weeks: first sold within 28 days before them, or never before.

Only these products are ranked, for every household that buys any of them in those weeks, as on a page of new products.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.cold_start.comparison import SEED, Comparison, Scores, fitted, of_items
from benchmarks.cold_start.stand_ins import category_popularity
from models.columns import CATEGORY, ITEM_ID
from models.datasets.dataset import Dataset
from models.datasets.holdout import targets
from models.datasets.training_data import TrainingData
from models.primitives.time import DAY
from models.primitives.vocabulary import words
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.recommenders.protocols import FoldsInItems

DAYS: Final = 28
_MODELS: Final = ("content_based", "lightfm_hybrid", "als", "two_stage")


def new_products(dataset: Dataset, figures: dict[str, float]) -> list[Table]:
    """Compare popularity, which has only ties for unsold products, with categories and models."""
    cut = dataset.cuts.test_from
    data = dataset.training_data(cut)
    products, paths = new_of(dataset, data)
    test_targets = targets(dataset.interactions, replace(data, items=products), cut, dataset.cuts.as_of)
    place = data.item_index(products)
    popular = np.where(place >= 0, popularity(data)[place], np.float32(0))
    figures |= {
        "new_products": len(products),
        "of_them_sold_before": float((place >= 0).sum()),
        "new_products_bought_later": len(np.unique(test_targets.indices)),
    }
    groups = {
        f"new products: first sold in the last {DAYS} days, or never": np.arange(len(products)),
        "never sold: the products without any history": np.flatnonzero(place < 0),
    }
    everyone = np.arange(len(data.users), dtype=np.int32)
    users_by_group = {title: everyone[np.diff(test_targets[:, shown].indptr) > 0] for title, shown in groups.items()}
    compared = {
        title: Comparison(title, test_targets[users_by_group[title]][:, shown], popular[shown], figures)
        for title, shown in groups.items()
    }
    for table in compared.values():
        table.add_unanswered("their own sales of late")
    for way, scores in _ways(dataset, data, products, paths):
        for title, shown in groups.items():
            compared[title].add(way, scores(users_by_group[title])[:, shown])
    return [table.table for table in compared.values()]


def _ways(
    dataset: Dataset, data: TrainingData, products: NDArray[np.str_], paths: NDArray[np.str_]
) -> Iterator[tuple[str, Callable[[NDArray[np.int32]], Scores]]]:
    """Return each way's scores of the products for these users."""
    sellers = category_popularity(data, paths, MostPopular.config_type().half_life_days)
    yield "best-selling categories", lambda users: np.tile(sellers, (len(users), 1))
    random = np.random.default_rng(SEED)
    yield "chance", lambda users: random.random((len(users), len(products)), dtype=np.float32)
    for kind in _MODELS:
        model = fitted(kind, data)
        longer = model.with_items(dataset.items) if isinstance(model, FoldsInItems) else model
        yield kind, partial(of_items, longer, items=products)


def _sold_first(data: TrainingData) -> NDArray[np.int64]:
    """Return [n_items] epoch seconds of each item's first purchase."""
    first = np.full(len(data.items), np.iinfo(np.int64).max)
    np.minimum.at(first, data.item, data.occurred_at)
    return first


def new_of(dataset: Dataset, data: TrainingData) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Return sorted ids and category paths of the products that were not sold before the last days."""
    rows = dataset.items.sort_by(ITEM_ID)
    place = data.item_index(rows[ITEM_ID])
    new = (place < 0) | (_sold_first(data)[place] >= data.cut - DAYS * DAY)
    chosen = rows.filter(new)
    return words(chosen[ITEM_ID]), words(chosen[CATEGORY])
