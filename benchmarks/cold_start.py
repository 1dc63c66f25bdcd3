"""Newcomers on the Complete Journey: people and products without history, in the test weeks.

Hardly anybody shops for the first time in those weeks, so households are withheld by seed: models never see them,
and are then told their traits, or the last three products they bought before the cut, or nothing. Products are
those of the catalogue that were not sold before the cut, all of them, whether or not they ever will be.
Run as `python -m benchmarks.cold_start`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.figures import publish
from benchmarks.journey import journey
from models import catalog
from models.cold_start import NewUsers
from models.columns import OCCURRED_AT, USER_KEY
from models.dataset import Dataset
from models.evaluation.bootstrap import interval
from models.evaluation.cold import category_popularity, latest_items, of_new_items, of_strangers
from models.evaluation.holdout import targets
from models.evaluation.metrics import accuracy
from models.evaluation.newcomers import traits_of
from models.most_popular import MostPopular, popularity
from models.ranking import top_k
from models.segment_popular import SegmentPopular
from models.training_data import TrainingData, index_of

SEED = 7
HELD = 500
CLICKS = 3
K = 10
_METRICS = ("ndcg", "recall", "hit_rate")
Scores = NDArray[np.float32]


class Comparison:
    """Lists of several ways for the same newcomers, each against the first one."""

    def __init__(self, title: str, wanted: Any, fallback: Scores, figures: dict[str, float]) -> None:
        self._wanted, self._fallback, self._figures = wanted, fallback, figures
        self._first: NDArray[np.float64] | None = None
        self._name = title.split(":")[0].replace(" ", "_")
        self.table = Table(title=f"{title} ({wanted.shape[0]:,} users)", title_justify="left")
        for column in ("way", *(f"{name}@{K}" for name in _METRICS), "95 % of ndcg", "95 % of the difference"):
            self.table.add_column(column, justify="left" if column == "way" else "right")

    def add(self, way: str, scores: Scores) -> None:
        """Rank `scores` [m, n_items], filled up from the fallback, and measure."""
        measured = accuracy(top_k(scores, K, fallback=self._fallback).items, self._wanted)
        ndcg = measured["ndcg"]
        self._first = ndcg if self._first is None else self._first
        spans = [interval(values, SEED) for values in (ndcg, ndcg - self._first)]
        means = {name: float(measured[name].mean()) for name in _METRICS}
        self._figures |= {f"{self._name}.{way}.{name}_at_{K}": mean for name, mean in means.items()}
        self.table.add_row(
            way, *(f"{mean:.4f}" for mean in means.values()), *(f"{low:+.4f} to {high:+.4f}" for low, high in spans)
        )


def _fitted(data: TrainingData, kinds: tuple[str, ...]) -> dict[str, Any]:
    return {kind: catalog.model_type(kind).fit(data, catalog.config(kind), SEED) for kind in kinds}


def _everybody(model: Any) -> Scores:
    scores: Scores = model.scores(np.arange(len(model.users), dtype=np.int32))
    return scores


def _withheld(dataset: Dataset) -> tuple[Dataset, NDArray[np.str_]]:
    """The data set without all that some households did, and these households: they shop before and after the cut."""
    data = dataset.training_data(dataset.cuts.test_from)
    shops = np.flatnonzero(dataset.holdout(data, dataset.cuts.as_of).sum(axis=1))
    held = np.sort(data.users[np.random.default_rng(SEED).choice(shops, HELD, replace=False)])
    others = np.flatnonzero(index_of(held, dataset.interactions[USER_KEY]) < 0)
    return Dataset(dataset.manifest, dataset.interactions.take(others), dataset.users, dataset.items), held


def _cold_users(dataset: Dataset, figures: dict[str, float]) -> list[Table]:
    rest, held = _withheld(dataset)
    cut, end = dataset.cuts.test_from, dataset.cuts.as_of
    data, traits = rest.training_data(cut), traits_of(dataset, pa.array(held.tolist()))
    frame = of_strangers(data, traits)
    wanted = targets(dataset.interactions, frame, cut, end)
    before = dataset.interactions.filter(pc.less(dataset.interactions[OCCURRED_AT], cut))
    clicks = latest_items(before, held, CLICKS)
    models = _fitted(data, ("als", "item_knn", "graph_filter", "content_based", "lightfm_hybrid"))
    segments = SegmentPopular.fit(data, SegmentPopular.config_type(), SEED)
    told = np.diff(frame.user_tags.indptr) > 0
    some = np.flatnonzero(np.diff(wanted.indptr) > 0)
    figures |= {"households_withheld": len(some), "of_them_with_traits": float(told[some].sum())}
    popular = popularity(data)

    def of(rows: NDArray[Any], title: str, ways: Mapping[str, Scores]) -> Table:
        compared = Comparison(title, wanted[rows], popular, figures)
        for way, scores in ways.items():
            compared.add(way, scores[rows])
        return compared.table

    none = clicks.slice(0, 0)
    by_traits_alone = NewUsers.of(traits, none, data.items)
    nothing = np.full((len(held), len(data.items)), -np.inf, dtype=np.float32)
    new = NewUsers.of(traits, clicks, data.items)
    bare = NewUsers.of(traits.select([USER_KEY]), clicks, data.items)
    seen = np.where(new.events.toarray() > 0, popular, np.float32(-np.inf))
    by_clicks = {"best sellers": nothing, "the clicked, then best sellers": seen}
    by_clicks |= {kind: _everybody(model.with_users(bare)) for kind, model in models.items()}
    hybrid = models["lightfm_hybrid"]
    by_traits = {"best sellers": nothing, "segment_popular": _everybody(segments.with_users(by_traits_alone))}
    by_traits["lightfm_hybrid, traits"] = _everybody(hybrid.with_users(by_traits_alone))
    by_traits["lightfm_hybrid, clicks"] = by_clicks["lightfm_hybrid"]
    by_traits["lightfm_hybrid, traits and clicks"] = _everybody(hybrid.with_users(new))
    return [
        of(some, f"{CLICKS} clicks: households withheld, {CLICKS} products known", by_clicks),
        of(np.intersect1d(some, np.flatnonzero(told)), "traits: households withheld, traits known", by_traits),
    ]


def _cold_items(dataset: Dataset, figures: dict[str, float]) -> list[Table]:
    cut, end = dataset.cuts.test_from, dataset.cuts.as_of
    data = dataset.training_data(cut)
    frame = of_new_items(data, dataset.items)
    wanted = targets(dataset.interactions, frame, cut, end)
    some = np.flatnonzero(np.diff(wanted.indptr)).astype(np.int32)
    figures |= {"products_without_history": len(frame.items), "of_them_sold": len(np.unique(wanted.indices))}
    sellers = category_popularity(data, frame.item_categories, MostPopular.config_type().half_life_days)
    compared = Comparison("new products: all without history", wanted[some], sellers, figures)
    chance = np.random.default_rng(SEED).random((len(some), len(frame.items)), dtype=np.float32)
    compared.add("best-selling categories", np.tile(sellers, (len(some), 1)))
    compared.add("chance", chance)
    only = {"title_weight": 0.0, "attribute_weight": 0.0}
    plain = catalog.model_type("content_based").fit(data, catalog.config("content_based", only), SEED)
    models = {"content_based, categories alone": plain, **_fitted(data, ("content_based", "lightfm_hybrid"))}
    for name, model in models.items():
        longer = model.with_items(dataset.items)
        compared.add(name, longer.scores(some)[:, index_of(longer.items, frame.items)])
    return [compared.table]


def main() -> None:
    """Print a table for each kind of newcomer, and keep the figures."""
    figures: dict[str, float] = {}
    with journey() as dataset:
        first = dataset.interactions.group_by(USER_KEY).aggregate([(OCCURRED_AT, "min")])[f"{OCCURRED_AT}_min"]
        figures["households_new_in_the_test_weeks"] = pc.sum(pc.greater_equal(first, dataset.cuts.test_from)).as_py()
        tables = [*_cold_users(dataset, figures), *_cold_items(dataset, figures)]
    publish("cold_start", figures, SEED)
    for table in tables:
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
