"""Assign users to static segments by purchases and by traits: a baseline, and lists for cold-start users.

By purchases a user has scores of recency, frequency and monetary value (Hughes 1994) of 1 to 5, and a segment name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.features.encoding.encoder import BUCKETS, fifths
from models.features.segments.trait_clusters import UNKNOWN, Demographics
from models.primitives.arrow_types import pa, pc
from models.primitives.state import State, part_of, under

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
        return np.where(bought, _NAMES[cell], PROSPECT)


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


RFM: Final = "rfm"
DEMOGRAPHIC: Final = "demographic"
KINDS: Final = (RFM, DEMOGRAPHIC)
SEGMENT: Final = "segment"
KIND: Final = "kind"


@dataclass(frozen=True)
class Segments:
    """Segments fitted at one moment for a data set; later users are compared with the same bounds and centres."""

    rfm: Rfm
    demographics: Demographics
    described: pa.Table
    """`kind`, `segment`, `users` (in the fit), `meaning` and `typical`: what distinguishes the segment."""

    @classmethod
    def fit(cls, user_features: pa.Table, traits: pa.Table, seed: int) -> Self:
        """Learn from one row per user: `user_features` at the cut, and `traits` as text or numbers."""
        features, traits = _same_users(user_features, traits)
        recency, groups = Rfm.fit(features), Demographics.fit(traits, seed)
        assigned = {RFM: recency.assign(features), DEMOGRAPHIC: groups.assign(traits)}
        return cls(recency, groups, _described(features, traits, assigned, groups))

    def assign(self, user_features: pa.Table, traits: pa.Table) -> pa.Table:
        """Return `user_key`, `rfm` and `demographic` of all users in either table, by user key."""
        features, traits = _same_users(user_features, traits)
        columns = {RFM: self.rfm.assign(features), DEMOGRAPHIC: self.demographics.assign(traits)}
        words = {name: pa.array(values.tolist(), pa.string()) for name, values in columns.items()}
        return pa.table({USER_KEY: features[USER_KEY], **words})

    def state(self) -> State:
        """Return the state: arrays without dtype object."""
        descriptions = {name: np.array(self.described[name].to_pylist()) for name in self.described.column_names}
        return {"edges": self.rfm.edges, **self.demographics.state(), **under(_PREFIX, descriptions)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild the segments from their state."""
        descriptions = {name: values.tolist() for name, values in part_of(_PREFIX, state).items()}
        return cls(Rfm(state["edges"]), Demographics.from_state(state), pa.table(descriptions, _described_schema()))


_PREFIX: Final = "described."
_COLUMNS: Final = (KIND, SEGMENT, "users", "meaning", "typical")


def _described_schema() -> pa.Schema:
    return pa.schema([(name, pa.int64() if name == "users" else pa.string()) for name in _COLUMNS])


def _same_users(user_features: pa.Table, traits: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return both tables with one row for each user in either, by user key; nulls if a table lacks the user."""
    both = [column.cast(pa.string()) for table in (user_features, traits) for column in table[USER_KEY].chunks]
    keys = pc.unique(pa.chunked_array(both, pa.string()))
    keys = keys.take(pc.sort_indices(keys))
    return _rows_of(user_features, keys), _rows_of(traits, keys)


def _rows_of(table: pa.Table, keys: pa.Array) -> pa.Table:
    place = pc.index_in(keys, value_set=table[USER_KEY].cast(pa.string()).combine_chunks())
    return table.take(place).drop_columns([USER_KEY]).add_column(0, USER_KEY, keys)


def _described(
    features: pa.Table, traits: pa.Table, assigned: Mapping[str, NDArray[np.str_]], groups: Demographics
) -> pa.Table:
    """Return RFM segments best first, then the groups, largest first, then users without known traits."""
    rows = []
    for name, meaning in MEANINGS.items():
        members = np.flatnonzero(assigned[RFM] == name)
        if len(members):
            rows.append((RFM, name, len(members), meaning, typical(features, members)))
    groups_typical = groups.typical(traits, assigned[DEMOGRAPHIC])
    for name in sorted(np.unique(assigned[DEMOGRAPHIC]).tolist(), key=lambda name: (name == UNKNOWN, name)):
        size = int((assigned[DEMOGRAPHIC] == name).sum())
        meaning = "none of their traits is known" if name == UNKNOWN else "users with similar traits"
        rows.append((DEMOGRAPHIC, name, size, meaning, groups_typical[name]))
    columns = zip(*rows, strict=True) if rows else [()] * len(_COLUMNS)
    return pa.table([list(column) for column in columns], _described_schema())
