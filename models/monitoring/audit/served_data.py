"""The data of an audit: items shown to users, their earlier purchases, and their purchases meanwhile."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.gate.fairness_checks import Group, Traits, groups_of
from models.monitoring.realised_accuracy import UserOutcomes

if TYPE_CHECKING:
    from scipy import sparse

Floats = NDArray[np.float64]


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
    shown: "sparse.csr_array"
    """CSR [m, n]: the share of each user's places that an item had, weighted by time; rows sum to 1."""
    bought: "sparse.csr_array"
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
) -> "sparse.csr_array":
    """Return `AuditData.shown` for lists [l, k] of users [l], item codes or -1, each shown for `seconds` [l]."""
    from scipy import sparse

    filled = items >= 0
    row = np.repeat(user, filled.sum(axis=1))
    weight = np.repeat(seconds, filled.sum(axis=1))
    total = np.bincount(row, weight, minlength=shape[0])
    places = sparse.csr_array((weight / total[row], (row, items[filled])), shape=shape)
    places.sum_duplicates()
    return places
