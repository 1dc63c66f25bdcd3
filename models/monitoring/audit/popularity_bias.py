"""Are best sellers shown to people beyond what they buy themselves, and what share of the places goes to whom?"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.beyond_accuracy import concentration
from models.evaluation.metrics.bootstrap import Estimate, Floats, estimate
from models.monitoring.audit.served_data import AuditData

UNKNOWN: Final = "unknown"
OTHERS: Final = "all others"
PROVIDERS: Final = 15
"""So many categories or brands are told by name."""


def mean_buyers(of: Any, buyers: Floats) -> Floats:
    """[m] the mean number of buyers of what each user has in a CSR [m, n], weighted by it; NaN for who has nothing."""
    weight = of.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = (of.astype(np.float64) @ buyers) / weight
    return result


def popularity_tenths(material: AuditData) -> list[dict[str, Any]]:
    """Shares of the places shown and of all purchases, for each tenth of the items from the most bought on."""
    goods = material.items
    items = np.bincount(goods.tenth, minlength=10).tolist()
    shown, bought = (_share(goods.tenth, weight, 10).tolist() for weight in (places(material), goods.purchases))
    return [
        {"tenth": at + 1, "items": n, "shown": shown_share, "bought": bought_share}
        for at, (n, shown_share, bought_share) in enumerate(zip(items, shown, bought, strict=True))
    ]


def spread(material: AuditData, seed: int) -> dict[str, Estimate]:
    """The share of the items that is shown to anybody of the sample, and the Gini index of the places they get."""
    n_items = len(material.items.buyers)
    used = np.flatnonzero(places(material))
    shown = material.shown[:, used]

    def covered(drawn: Any) -> Floats:
        result: Floats = ((drawn @ shown) > 0).sum(axis=1) / max(1, n_items)
        return result

    def gini(drawn: Any) -> Floats:
        return concentration(drawn @ shown, n_items)

    return {name: estimate(figure, material.users, seed) for name, figure in (("coverage", covered), ("gini", gini))}


def providers(material: AuditData, names: NDArray[np.str_]) -> list[dict[str, Any]]:
    """Shares of the places shown and of all purchases, for each of `names` [n], such as brands; the largest first."""
    names_found, code = np.unique(np.where(names == "", UNKNOWN, names), return_inverse=True)
    shown, bought = (_share(code, weight, len(names_found)) for weight in (places(material), material.items.purchases))
    order = np.argsort(-np.maximum(shown, bought), kind="stable")
    first, others = order[:PROVIDERS], order[PROVIDERS:]
    rows = [{"name": str(names_found[at]), "shown": float(shown[at]), "bought": float(bought[at])} for at in first]
    if len(others):
        rows.append({"name": OTHERS, "shown": float(shown[others].sum()), "bought": float(bought[others].sum())})
    return rows


def places(material: AuditData) -> Floats:
    """[n] how many users' worth of places each item got."""
    result: Floats = np.asarray(material.shown.sum(axis=0), dtype=np.float64)
    return result


def _share(code: NDArray[np.int64], weight: Floats, n: int) -> Floats:
    """[n] the share of all weight that has each code."""
    counts = np.bincount(code, weight, minlength=n).astype(np.float64)
    share: Floats = counts / max(counts.sum(), 1e-12)
    return share
