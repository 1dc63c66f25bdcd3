"""Segment users by recency, frequency and monetary value (Hughes 1994): scores of 1 to 5, and a segment name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.features.encoding.tags import BUCKETS, fifths
from models.primitives.arrow import pa

PROSPECT: Final = "prospect"
"""Known, but without a purchase so far."""

MEANINGS: Final = {
    "champions": "bought of late, often and for much",
    "loyal": "buy often or for much, and did so not long ago",
    "promising": "bought of late, a few times",
    "new": "bought of late, and hardly ever before",
    "slipping": "buy little, and have not for a while",
    "at_risk": "bought more than others, but not for long",
    "cannot_lose": "were among the best, and have not been seen for longest",
    "lost": "bought little, long ago",
    PROSPECT: "have not bought yet",
}
"""The meaning of each segment, best first."""

GRID: Final = (
    ("lost", "lost", "at_risk", "at_risk", "cannot_lose"),
    ("lost", "lost", "at_risk", "at_risk", "at_risk"),
    ("slipping", "slipping", "loyal", "loyal", "loyal"),
    ("new", "promising", "loyal", "loyal", "champions"),
    ("new", "promising", "loyal", "champions", "champions"),
)
"""Rows: score of recency, 1 (longest ago) to 5. Columns: mean of the scores of frequency and money, halves up."""

_NAMES: Final = np.array([name for row in GRID for name in row])
FEATURES: Final = ("recency_days", "frequency", "monetary")


@dataclass(frozen=True)
class Rfm:
    """The bounds between scores. Equal numbers share the lower score; the bounds stay when users change."""

    edges: NDArray[np.float64]
    """[3, 4] fifths of `FEATURES` of the fitted users; NaN if no user had a value."""

    @classmethod
    def fit(cls, user_features: pa.Table) -> Self:
        """Learn the bounds from the users who have bought."""
        values = _values(user_features)
        bought = np.isfinite(values[0])
        known = [column[bought & np.isfinite(column)] for column in values]
        return cls(np.array([fifths(column) if len(column) else np.full(BUCKETS - 1, np.nan) for column in known]))

    def scores(self, user_features: pa.Table) -> NDArray[np.int8]:
        """Return scores of recency, frequency and money ([n, 3]): 1 to 5, 5 is best, 0 without a value."""
        values = _values(user_features)
        recency = BUCKETS - np.searchsorted(self.edges[0], values[0], side="right")
        others = [1 + np.searchsorted(self.edges[i], values[i], side="left") for i in (1, 2)]
        scores = np.column_stack([recency, *others]).clip(1, BUCKETS)
        scores[~np.isfinite(np.column_stack(values))] = 0
        return scores.astype(np.int8)

    def assign(self, user_features: pa.Table) -> NDArray[np.str_]:
        """Return the segment of each user ([n])."""
        recency, frequency, money = self.scores(user_features).T.astype(np.int64)
        # Events without a value have no money: then frequency alone gives the worth of a customer.
        worth = np.where(money > 0, (frequency + money + 1) // 2, frequency)
        bought = (recency > 0) & (frequency > 0)
        cell = np.where(bought, (recency - 1) * BUCKETS + worth - 1, 0)
        segments: NDArray[np.str_] = np.where(bought, _NAMES[cell], PROSPECT)
        return segments


def _values(user_features: pa.Table) -> list[NDArray[np.float64]]:
    return [np.asarray(user_features[name].cast(pa.float64()), dtype=np.float64) for name in FEATURES]


def typical(user_features: pa.Table, rows: NDArray[np.intp]) -> str:
    """Return the medians of these users as text."""
    recency, frequency, money = (_median(column[rows]) for column in _values(user_features))
    if np.isnan(recency):
        return MEANINGS[PROSPECT]
    spent = "" if np.isnan(money) else f", {money:,.0f} spent"
    return f"last purchase {recency:,.0f} days ago, {frequency:,.0f} baskets{spent} (medians)"


def _median(values: NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
