"""What an audit looks at: what people were shown, what they had bought before, and what came of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.gate.fairness_checks import Group, Traits, groups_of
from models.monitoring.realised_accuracy import UserOutcomes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AuditItems:
    """The n items that could be shown or were."""

    buyers: Floats
    """[n] users who had bought it before the first list was shown, of all users there are."""
    purchases: Floats
    """[n] the same as purchases."""
    category: NDArray[np.str_]
    """[n] the most general level, empty when unknown."""
    brand: NDArray[np.str_]

    @cached_property
    def percentile(self) -> Floats:
        """[n] the share of items that are bought less, those bought as often counting half: 1 for the best seller."""
        from scipy.stats import rankdata

        ranks: Floats = rankdata(self.buyers)
        return (ranks - 0.5) / max(1, len(ranks))

    @cached_property
    def tenth(self) -> NDArray[np.int64]:
        """[n] from 0, the tenth of the items that most people had bought, to 9; those bought alike by their place."""
        order = np.argsort(-self.buyers, kind="stable")
        tenth = np.empty(len(order), dtype=np.int64)
        tenth[order] = np.arange(len(order)) * 10 // max(1, len(order))
        return tenth


@dataclass(frozen=True)
class AuditData:
    """m users who were shown lists, and n items."""

    traits: Traits
    shown: Any
    """CSR, m x n: the share of each user's places on lists that an item had, by the time that it was there; rows sum
    to 1."""
    bought: Any
    """Boolean CSR, m x n: what each user had bought before the first list was shown."""
    items: AuditItems
    outcome: UserOutcomes | None
    """None when nobody did anything while lists were shown."""

    @property
    def users(self) -> int:
        """m."""
        return int(self.shown.shape[0])

    @cached_property
    def groups(self) -> list[Group]:
        """The demographic groups."""
        return groups_of(self.traits)


def exposure_shares(user: NDArray[np.int64], items: NDArray[np.int64], seconds: Floats, shape: tuple[int, int]) -> Any:
    """`Material.shown` of lists [l, k] of users [l], item codes or -1, each shown for so many `seconds` [l]."""
    from scipy import sparse

    filled = items >= 0
    row = np.repeat(user, filled.sum(axis=1))
    weight = np.repeat(seconds, filled.sum(axis=1))
    total = np.bincount(row, weight, minlength=shape[0])
    places = sparse.csr_array((weight / total[row], (row, items[filled])), shape=shape)
    places.sum_duplicates()
    return places
