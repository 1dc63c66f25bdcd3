"""Measures households with little or no history in the test weeks: best sellers against models.

Few households shop for the first time in those weeks, and few have 1 to 4 baskets before. So households with more
purchases are cut down by seed: to their last 1 to 4 baskets, or to their traits or their last three products.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.cold_start.comparison import SEED, Comparison, Scores, fitted, scores_of_all_users
from benchmarks.cold_start.stand_ins import latest_items
from models.columns import OCCURRED_AT, SESSION_ID, USER_KEY
from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.holdout import targets
from models.evaluation.diagnostics.model_report import cold_start_data, traits_of
from models.primitives.csr import places
from models.primitives.vocabulary import index_of
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.new_user_shrinkage import KINDS, ClickPrior

HELD: Final = 500
CLICKS: Final = 3
FEW: Final = 4
"""Most baskets of a cold household."""
_MODELS: Final = (
    "segment_popular",
    "own_frequency",
    "als",
    "item_knn",
    "graph_filter",
    "lightfm_hybrid",
    "two_stage",
)


def few_baskets(dataset: Dataset, figures: dict[str, float]) -> list[Table]:
    """Measure households with 1 to 4 baskets before the test weeks, and others cut down to as many."""
    cut, end = dataset.cuts.test_from, dataset.cuts.as_of
    held = drawn(dataset, cut, end)
    less = cut_down(dataset, held, cut)
    data = less.training_data(cut)
    test_targets, popular = less.holdout(data, end), popularity(data)
    cold = (data.baskets() <= FEW) & (np.diff(test_targets.indptr) > 0)
    chosen = index_of(held, data.users) >= 0
    rows = {
        f"few baskets: households with 1 to {FEW}": cold & ~chosen,
        f"cut down: households of which the last 1 to {FEW} baskets are known": cold & chosen,
    }
    groups = {title: np.flatnonzero(mask).astype(np.int32) for title, mask in rows.items()}
    compared = {title: Comparison(title, test_targets[users], popular, figures) for title, users in groups.items()}
    for table in compared.values():
        table.add_unanswered("best sellers")
    for kind in _MODELS:
        model = fitted(kind, data)
        for title, users in groups.items():
            compared[title].add(kind, model.scores(users))
    return [table.table for table in compared.values()]


def withheld(dataset: Dataset, figures: dict[str, float]) -> list[Table]:
    """Measure households that models never see, described by three products or by their traits."""
    cut, end = dataset.cuts.test_from, dataset.cuts.as_of
    held = drawn(dataset, cut, end)
    remaining = only(dataset, index_of(held, dataset.interactions[USER_KEY]) < 0)
    data, traits = remaining.training_data(cut), traits_of(dataset, pa.array(held.tolist()))
    frame = cold_start_data(data, traits)
    test_targets = targets(dataset.interactions, frame, cut, end)
    before = dataset.interactions.filter(pc.less(dataset.interactions[OCCURRED_AT], cut))
    clicks = latest_items(before, held, CLICKS)
    models = {kind: fitted(kind, data) for kind in ("als", "item_knn", "graph_filter", "content_based")}
    hybrid, segments = fitted("lightfm_hybrid", data), fitted("segment_popular", data)
    has_traits = np.diff(frame.user_tags.indptr) > 0
    some = np.flatnonzero(np.diff(test_targets.indptr) > 0)
    figures |= {"households_withheld": len(some), "of_them_with_traits": float(has_traits[some].sum())}
    popular = popularity(data)

    def of(rows: NDArray[Any], title: str, ways: Mapping[str, Scores]) -> Table:
        compared = Comparison(title, test_targets[rows], popular, figures)
        compared.add_unanswered("best sellers")
        for way, scores in ways.items():
            compared.add(way, scores[rows])
        return compared.table

    new = NewUsers.of(traits, clicks, data.items)
    bare, unseen = replace(new, traits=traits.select([USER_KEY])), NewUsers.of(traits, clicks.slice(0, 0), data.items)
    seen = np.where(new.events.toarray() > 0, popular, np.float32(-np.inf))
    by_clicks = {"the clicked, then best sellers": seen}
    by_clicks |= {kind: scores_of_all_users(model.with_users(bare)) for kind, model in models.items()}
    prior_only = ClickPrior(models["item_knn"].with_users(bare), bare.events, popular, alike=0)
    by_clicks["prior without a model"] = scores_of_all_users(prior_only)
    for kind in KINDS:
        prior = ClickPrior(models[kind].with_users(bare), bare.events, popular)
        by_clicks[f"{kind} with prior"] = scores_of_all_users(prior)
    by_clicks["lightfm_hybrid"] = scores_of_all_users(hybrid.with_users(bare))
    by_traits = {
        "segment_popular": scores_of_all_users(segments.with_users(unseen)),
        "lightfm_hybrid, traits": scores_of_all_users(hybrid.with_users(unseen)),
        "lightfm_hybrid, clicks": by_clicks["lightfm_hybrid"],
        "lightfm_hybrid, traits and clicks": scores_of_all_users(hybrid.with_users(new)),
    }
    return [
        of(some, f"{CLICKS} clicks: households withheld, {CLICKS} products known", by_clicks),
        of(np.intersect1d(some, np.flatnonzero(has_traits)), "traits: households withheld, traits known", by_traits),
    ]


def drawn(dataset: Dataset, cut: int, end: int) -> NDArray[np.str_]:
    """Return the sorted households that shop both before the cut and from there to the end (epoch s)."""
    data = dataset.training_data(cut)
    shops = np.flatnonzero(dataset.holdout(data, end).sum(axis=1))
    return np.sort(data.users[np.random.default_rng(SEED).choice(shops, HELD, replace=False)])


def only(dataset: Dataset, rows: NDArray[np.bool_]) -> Dataset:
    """Return the data set with these purchases only, and features computed from them."""
    subset = dataset.interactions.take(np.flatnonzero(rows))
    return Dataset(dataset.manifest, subset, dataset.users, dataset.items)


def cut_down(dataset: Dataset, held: NDArray[np.str_], cut: int) -> Dataset:
    """Return the data set without the purchases of some households before their last 1 to 4 baskets."""
    rows = dataset.interactions
    old = np.asarray(pc.less(rows[OCCURRED_AT], cut)) & (index_of(held, rows[USER_KEY]) >= 0)
    baskets = rows.take(np.flatnonzero(old)).group_by([USER_KEY, SESSION_ID]).aggregate([(OCCURRED_AT, "max")])
    baskets = baskets.sort_by(
        [(USER_KEY, "ascending"), (f"{OCCURRED_AT}_max", "descending"), (SESSION_ID, "ascending")]
    )
    owner = index_of(held, baskets[USER_KEY])
    many = np.random.default_rng(SEED).integers(1, FEW + 1, len(held))
    last = baskets[SESSION_ID].take(np.flatnonzero(places(owner) < many[owner]))
    return only(dataset, ~old | np.asarray(pc.is_in(rows[SESSION_ID], value_set=last.combine_chunks())))
