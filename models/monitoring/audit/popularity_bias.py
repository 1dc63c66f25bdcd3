"""Measures popularity bias: exposure of best sellers, and shares of places by popularity, category and brand."""

from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.beyond_accuracy import concentration
from models.evaluation.metrics.bootstrap import Estimate, Floats, estimate
from models.monitoring.audit.served_data import AuditData

if TYPE_CHECKING:
    from scipy import sparse

UNKNOWN: Final = "unknown"
OTHERS: Final = "all others"
PROVIDERS: Final = 15
"""Categories or brands that are listed by name."""


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


def mean_buyers(of: "sparse.csr_array", buyers: Floats) -> Floats:
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
    n_items = len(data.items.buyers)
    used = np.flatnonzero(places(data))
    shown = data.shown[:, used]

    def covered(drawn: Any) -> Floats:
        result: Floats = ((drawn @ shown) > 0).sum(axis=1) / max(1, n_items)
        return result

    def gini(drawn: Any) -> Floats:
        return concentration(drawn @ shown, n_items)

    return {name: estimate(figure, data.users, seed) for name, figure in (("coverage", covered), ("gini", gini))}


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
    result: Floats = np.asarray(data.shown.sum(axis=0), dtype=np.float64)
    return result


def _share(code: NDArray[np.int64], weight: Floats, n: int) -> Floats:
    """Return [n] the share of all weight by code."""
    counts = np.bincount(code, weight, minlength=n).astype(np.float64)
    share: Floats = counts / max(counts.sum(), 1e-12)
    return share
