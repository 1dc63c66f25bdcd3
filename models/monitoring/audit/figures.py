"""The data of an audit, and its figures: of all users and of groups with intervals, and shares of places.

Shares by popularity, category and brand show whether best sellers are exposed more than they are bought.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.evaluation.metrics.beyond_accuracy import spread_of_places
from models.evaluation.metrics.bootstrap import Estimate, Floats, intervals_of_ratios
from models.gate.fairness_checks import Group, Traits, groups_of
from models.monitoring.realised_accuracy import UserOutcomes

ALL_USERS: Final = Group("", "everybody", np.empty(0, dtype=bool))
ALPHA: Final = 0.01
"""Share of the history mixed into the list, so that a missing category gives no infinite divergence."""
UNKNOWN: Final = "unknown"
OTHERS: Final = "all others"
PROVIDERS: Final = 15
"""Categories or brands that are listed by name."""


@dataclass(frozen=True)
class AuditItems:
    """The n items that were shown or could have been shown."""

    buyers: Floats
    """[n] users, of all users, who had bought the item before the first list was shown."""
    purchases: Floats
    """[n] purchases in the same time."""
    category: NDArray[np.str_]
    """[n] the most general category level, empty if unknown."""
    brand: NDArray[np.str_]

    @cached_property
    def percentile(self) -> Floats:
        """[n] the share of items with fewer buyers, items with as many counting half: near 1 for the best seller."""
        from scipy.stats import rankdata

        ranks: Floats = rankdata(self.buyers)
        return (ranks - 0.5) / max(1, len(ranks))

    @cached_property
    def tenth(self) -> NDArray[np.int64]:
        """[n] 0 for the tenth of the items with the most buyers, to 9; ties go by position."""
        order = np.argsort(-self.buyers, kind="stable")
        tenth = np.empty(len(order), dtype=np.int64)
        tenth[order] = np.arange(len(order)) * 10 // max(1, len(order))
        return tenth


@dataclass(frozen=True)
class AuditData:
    """m users who were shown lists, and n items."""

    traits: Traits
    shown: sparse.csr_array
    """CSR [m, n]: the share of each user's places that an item had, weighted by time; rows sum to 1."""
    bought: sparse.csr_array
    """Boolean CSR [m, n]: items that each user had bought before the first list was shown."""
    items: AuditItems
    outcome: UserOutcomes | None
    """None if no user acted while lists were shown."""

    @property
    def users(self) -> int:
        """The number of users m."""
        return int(self.shown.shape[0])

    @cached_property
    def groups(self) -> list[Group]:
        """The demographic groups."""
        return groups_of(self.traits)


def exposure_shares(
    user: NDArray[np.int64], items: NDArray[np.int64], seconds: Floats, shape: tuple[int, int]
) -> sparse.csr_array:
    """Return `AuditData.shown` for lists [l, k] of users [l], item codes or -1, each shown for `seconds` [l]."""
    filled = items >= 0
    row = np.repeat(user, filled.sum(axis=1))
    weight = np.repeat(seconds, filled.sum(axis=1))
    total = np.bincount(row, weight, minlength=shape[0])
    places = sparse.csr_array((weight / total[row], (row, items[filled])), shape=shape)
    places.sum_duplicates()
    return places


class Ratio(NamedTuple):
    """A figure as the ratio of two sums over users, [m] each."""

    above: Floats
    below: Floats


class GroupFigures(NamedTuple):
    """The figures of one group."""

    trait: str
    """Empty for all users."""
    value: str
    users: int
    acted: int
    """Users who bought something while lists were shown."""
    figures: dict[str, Estimate | None]
    """By name; None without a user who has the figure."""


def ratios(data: AuditData) -> dict[str, Ratio]:
    """Return the figures that are reported of groups, for all users.

    `recall`, `hit_rate`, `ndcg` and the same of the `control`, if there is an outcome. `percentile`: how popular the
    shown items are. `lift`: by which share the mean number of buyers of shown items exceeds that of bought items
    (Abdollahpouri et al. 2020: means over the group first). `miscalibration`: see
    the function of that name.
    """
    items, all_users = data.items, np.ones(data.users)
    shown, had = (mean_buyers(pairs, items.buyers) for pairs in (data.shown, data.bought))
    both = np.isfinite(shown) & np.isfinite(had)
    divergence = miscalibration(data.bought, data.shown, items.category)
    known = np.isfinite(divergence)
    return _outcomes(data) | {
        "percentile": Ratio(data.shown @ items.percentile, all_users),
        "lift": Ratio(np.where(both, shown - had, 0.0), np.where(both, had, 0.0)),
        "miscalibration": Ratio(np.where(known, divergence, 0.0), known.astype(np.float64)),
    }


def _outcomes(data: AuditData) -> dict[str, Ratio]:
    outcome = data.outcome
    if outcome is None:
        return {}
    return {
        "recall": Ratio(outcome.hits, outcome.targets),
        "hit_rate": Ratio(outcome.hit, outcome.acted),
        "ndcg": Ratio(outcome.ndcg, outcome.acted),
        "control_recall": Ratio(outcome.control_hits, outcome.targets),
        "control_hit_rate": Ratio(outcome.control_hit, outcome.acted),
        "control_ndcg": Ratio(outcome.control_ndcg, outcome.acted),
    }


def figures_by_group(data: AuditData, seed: int) -> list[GroupFigures]:
    """Return all users first, then the groups by trait and value; 95 % bootstrap intervals over users (Efron 1979)."""
    by_metric, all_users = ratios(data), np.ones(data.users, dtype=bool)
    groups = [ALL_USERS._replace(members=all_users), *data.groups]
    members = np.column_stack([group.members for group in groups]).astype(np.float64)
    above, below = (
        np.concatenate([members * part[:, None] for part in parts], axis=1)
        for parts in zip(*by_metric.values(), strict=True)
    )
    low, high = intervals_of_ratios(above, below, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = above.sum(axis=0) / below.sum(axis=0)
    bounds = np.stack([value, low, high], axis=1).reshape(len(by_metric), len(groups), 3)
    acted = np.zeros(data.users) if data.outcome is None else data.outcome.acted
    return [
        _of_group(group, acted, dict(zip(by_metric, bounds[:, place], strict=True)))
        for place, group in enumerate(groups)
    ]


def _of_group(group: Group, acted: Floats, estimates_by_name: Mapping[str, Floats]) -> GroupFigures:
    figures = {
        name: Estimate(*row.tolist()) if np.isfinite(row).all() else None for name, row in estimates_by_name.items()
    }
    return GroupFigures(group.trait, group.value, int(group.members.sum()), int(acted[group.members].sum()), figures)


def miscalibration(
    bought: sparse.csr_array, shown: sparse.csr_array, category: NDArray[np.str_]
) -> NDArray[np.float64]:
    """Return [m] the Kullback-Leibler divergence, in nats, of the categories of the lists from those of the history.

    `bought` and `shown` are CSR [m, n], `category` [n]. With p of the history and q of the lists it is the sum of
    p log(p / q'), q' = (1 - alpha) q + alpha p (Steck 2018): 0 when both are alike. Items of unknown category do
    not count. NaN for users without items of known category in either.
    """
    known = category != ""
    names, code = np.unique(category[known], return_inverse=True)
    positions = np.flatnonzero(known)
    of_item = sparse.csr_array((np.ones(len(positions)), (positions, code)), shape=(len(category), len(names)))
    p, q = (_shares(pairs, of_item) for pairs in (bought, shown))
    mixed = (1 - ALPHA) * q + ALPHA * p
    with np.errstate(invalid="ignore", divide="ignore"):
        divergence: NDArray[np.float64] = np.where(p == 0, 0.0, p * np.log(p / mixed)).sum(axis=1)
    return divergence


def _shares(pairs: sparse.csr_array, of_item: sparse.csr_array) -> NDArray[np.float64]:
    """Return [m, n_categories] shares; rows sum to 1, NaN for users without items."""
    counts = (pairs.astype(np.float64) @ of_item).toarray()
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


class PopularityTenth(TypedDict):
    """Shares of one tenth of the items, by popularity."""

    tenth: int
    items: int
    shown: float
    """Share of all places."""
    bought: float
    """Share of all purchases."""


class ProviderShare(TypedDict):
    """Shares of one category or brand."""

    name: str
    shown: float
    bought: float


def mean_buyers(of: sparse.csr_array, buyers: Floats) -> Floats:
    """Return [m] the mean number of buyers of each user's items in a CSR [m, n], weighted by it; NaN without items."""
    weight = of.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = (of.astype(np.float64) @ buyers) / weight
    return result


def popularity_tenths(data: AuditData) -> list[PopularityTenth]:
    """Return shares of places and purchases for each tenth of the items, the most bought first."""
    goods = data.items
    items = np.bincount(goods.tenth, minlength=10).tolist()
    shown, bought = (_share(goods.tenth, weight, 10).tolist() for weight in (places(data), goods.purchases))
    return [
        PopularityTenth(tenth=at + 1, items=n, shown=shown_share, bought=bought_share)
        for at, (n, shown_share, bought_share) in enumerate(zip(items, shown, bought, strict=True))
    ]


def spread(data: AuditData, seed: int) -> dict[str, Estimate]:
    """Return the share of items shown to at least one user of the sample, and the Gini index of their places."""
    return spread_of_places(data.shown[:, np.flatnonzero(places(data))], len(data.items.buyers), seed)


def providers(data: AuditData, names: NDArray[np.str_]) -> list[ProviderShare]:
    """Return shares of places and purchases by `names` [n], such as brands, the largest first."""
    distinct, code = np.unique(np.where(names == "", UNKNOWN, names), return_inverse=True)
    shown, bought = (_share(code, weight, len(distinct)) for weight in (places(data), data.items.purchases))
    order = np.argsort(-np.maximum(shown, bought), kind="stable")
    first, others = order[:PROVIDERS], order[PROVIDERS:]
    rows = [ProviderShare(name=str(distinct[at]), shown=float(shown[at]), bought=float(bought[at])) for at in first]
    if len(others):
        rows.append(ProviderShare(name=OTHERS, shown=float(shown[others].sum()), bought=float(bought[others].sum())))
    return rows


def places(data: AuditData) -> Floats:
    """Return [n] the places of each item, in units of one user's places."""
    return np.asarray(data.shown.sum(axis=0), dtype=np.float64)


def _share(code: NDArray[np.int64], weight: Floats, n: int) -> Floats:
    """Return [n] the share of all weight by code."""
    counts = np.bincount(code, weight, minlength=n).astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1e-12))
