"""Register the feature tables: the function, the keys and the columns of each."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

from models.columns import ITEM_ID, USER_KEY
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES, Feature
from models.features.expressions import Frame, Materialize, no_cache
from models.features.tables.item_features import item_features, pair_features
from models.features.tables.user_features import user_features


class Build(Protocol):
    """Compute a table from the events and the catalogue, as known at `now` (epoch s)."""

    def __call__(self, events: Frame, items: Frame, now: int, materialize: Materialize = no_cache) -> Frame: ...
    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Table:
    """One row per `keys`, with one column per feature."""

    keys: tuple[str, ...]
    features: tuple[Feature, ...]
    build: Build


TABLES: Final = {
    "user_features": Table((USER_KEY,), USER_FEATURES, user_features),
    "item_features": Table((ITEM_ID,), ITEM_FEATURES, item_features),
    "pair_features": Table((USER_KEY, ITEM_ID), PAIR_FEATURES, pair_features),
}


class FeatureTables(NamedTuple):
    """The features known at one moment: a row per user, per item, and per user and item with history."""

    users: pa.Table
    items: pa.Table
    pairs: pa.Table

    def by_name(self) -> dict[str, pa.Table]:
        """Return the tables by their names in `TABLES`."""
        return dict(zip(TABLES, self, strict=True))
