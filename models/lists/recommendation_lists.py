"""Lists as they are published, many subjects at a time, and the checks on them before readers see them."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHECKS: Final = {
    "empty_places": "empty places without a reason why the list is short",
    "gaps": "items behind an empty place",
    "repeats": "the same item twice",
    "not_on_sale": "items that are not known or must not be shown",
    "unscored": "scores that are no numbers",
    "unexplained": "items without a reason",
}
"""The counts that must be 0 in every list."""


class Lists(NamedTuple):
    """Lists of m subjects: users, or items in placements about items."""

    rows: NDArray[np.int64]
    """[m] positions among all subjects that are to have a list."""
    subjects: NDArray[np.str_]
    """[m] keys of users or ids of items."""
    items: NDArray[np.int32]
    """[m, k] codes, best first, -1 at the end of lists that are shorter."""
    scores: NDArray[np.float32]
    """[m, k]"""
    reasons: NDArray[np.int32]
    """[m, k] codes; -1 if there is no item."""
    short: NDArray[np.str_]
    """[m] why a list is shorter than k; empty if it is full."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[m] items on each list."""
        counts: NDArray[np.int64] = (self.items >= 0).sum(axis=1)
        return counts


def count_violations(lists: Lists, allowed: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
    """Return [m] counts of each of `CHECKS` per list; `allowed` [n] marks the item codes that may be shown."""
    listed, k = lists.items >= 0, lists.items.shape[1]
    lengths, n = listed.sum(axis=1), len(allowed)
    ordered = np.sort(lists.items, axis=1)
    known = listed & (lists.items < n)
    may = known & allowed[np.where(known, lists.items, 0)]
    counted = {
        "empty_places": np.where(lists.short == "", k - lengths, 0),
        "gaps": (listed[:, 1:] & ~listed[:, :-1]).sum(axis=1),
        "repeats": ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum(axis=1),
        "not_on_sale": (listed & ~may).sum(axis=1),
        "unscored": (listed & ~np.isfinite(lists.scores)).sum(axis=1),
        "unexplained": (listed & (lists.reasons < 0)).sum(axis=1),
    }
    return {name: counted[name].astype(np.int32) for name in CHECKS}
