"""Assign users to static segments by purchases and by traits: a baseline, and lists for cold-start users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.features.segments import rfm
from models.features.segments.rfm import MEANINGS, Rfm
from models.features.segments.trait_clusters import UNKNOWN, Demographics
from models.primitives.arrow import pa, pc
from models.primitives.state import State, part_of, under

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

    def describe(self) -> pa.Table:
        """Return `kind`, `segment`, `users` (in the fit), `meaning` and `typical`: what distinguishes the segment."""
        return self.described

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
            rows.append((RFM, name, len(members), meaning, rfm.typical(features, members)))
    typical = groups.typical(traits, assigned[DEMOGRAPHIC])
    for name in sorted(np.unique(assigned[DEMOGRAPHIC]).tolist(), key=lambda name: (name == UNKNOWN, name)):
        size = int((assigned[DEMOGRAPHIC] == name).sum())
        meaning = "none of their traits is known" if name == UNKNOWN else "users with similar traits"
        rows.append((DEMOGRAPHIC, name, size, meaning, typical[name]))
    columns = zip(*rows, strict=True) if rows else [()] * len(_COLUMNS)
    return pa.table([list(column) for column in columns], _described_schema())
