"""A version of the data: what models learn from at any moment, the features then, and what happened next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from models import columns
from models.evaluation.holdout import targets
from models.feature_tables import FeatureTables, feature_tables
from models.splits import Cuts
from models.sql import query
from models.training_data import TrainingData, build

USER_TAGS: Final = ("recency_days", "frequency", "monetary")
"""Features that are tags of a user beside the traits; the tags of an item are its category and brand."""
_ITEM_TAGS: Final = (columns.CATEGORY, columns.BRAND)


def _nothing(_cut: int) -> None:
    """No moment is stored."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Purchases, users and items in memory."""

    manifest: Mapping[str, Any]
    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    stored: Callable[[int], FeatureTables | None] = _nothing
    """The features as they were written at a cut of the data set; None for other moments."""
    _opened: dict[int, FeatureTables] = field(default_factory=dict, init=False)

    @property
    def version(self) -> str:
        """The name of the data set."""
        return str(self.manifest["version"])

    @property
    def cuts(self) -> Cuts:
        """Its moments."""
        return Cuts(*(self.manifest[name] for name in ("validation_from", "test_from", "as_of")))

    def features(self, cut: int) -> FeatureTables:
        """The features at a moment: as stored, or worked out from the purchases."""
        if cut not in self._opened:
            self._opened[cut] = self.stored(cut) or feature_tables(self.interactions, self.items, cut)
        return self._opened[cut]

    def training_data(self, cut: int) -> TrainingData:
        """Everything known before a moment (epoch s). Raises NoHistoryError when that is nothing."""
        features = self.features(cut)
        traits = [name for name in self.users.column_names if name != columns.USER_KEY]
        users = _joined(self.users, features.users, columns.USER_KEY)
        items = _joined(self.items, features.items, columns.ITEM_ID)
        return build(self.interactions, users, items, cut, (*traits, *USER_TAGS), _ITEM_TAGS, origin=self)

    def holdout(self, data: TrainingData, end: int) -> Any:
        """What the users of `data` bought from its cut up to `end`: boolean CSR, users x items."""
        return targets(self.interactions, data, data.cut, end)


def _joined(rows: pa.Table, features: pa.Table, key: str) -> pa.Table:
    return query(f"SELECT * FROM rows LEFT JOIN known USING ({key}) ORDER BY {key}", rows=rows, known=features)
