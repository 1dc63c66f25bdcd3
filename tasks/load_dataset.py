"""Opens data sets: the arrays that models learn from, and what really happened afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.installation import Installation, current
from models import columns
from models.errors import TailorbirdError
from models.evaluation.holdout import targets
from models.splits import Cuts
from models.sql import query
from models.training_data import TrainingData, build
from tasks.build_dataset import Manifest, stored_manifest

_USER_TAGS = ("recency_days", "frequency", "monetary")
_ITEM_TAGS = (columns.CATEGORY, columns.BRAND)


@dataclass(frozen=True)
class Dataset:
    """One version of the data, opened."""

    manifest: Manifest
    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    user_features: pa.Table
    item_features: pa.Table

    @property
    def version(self) -> str:
        """The name of the data set."""
        return str(self.manifest["version"])

    @property
    def cuts(self) -> Cuts:
        """Its moments."""
        return Cuts(*(self.manifest[name] for name in ("validation_from", "test_from", "as_of")))

    def training_data(self, cut: int) -> TrainingData:
        """Everything known before one of the data set's cuts."""
        traits = [name for name in self.users.column_names if name != columns.USER_KEY]
        return build(
            self.interactions,
            _joined(self.users, self.user_features, columns.USER_KEY, cut),
            _joined(self.items, self.item_features, columns.ITEM_ID, cut),
            cut,
            (*traits, *_USER_TAGS),
            _ITEM_TAGS,
        )

    def holdout(self, data: TrainingData, end: int) -> Any:
        """What the users of `data` bought from its cut up to `end`."""
        return targets(self.interactions, data, data.cut, end)


def _joined(rows: pa.Table, features: pa.Table, key: str, cut: int) -> pa.Table:
    """The rows with their features as they were at the cut."""
    then = features.filter(pc.equal(features[columns.AS_OF], cut)).drop_columns([columns.AS_OF])
    return query(f"SELECT * FROM rows LEFT JOIN known USING ({key}) ORDER BY {key}", rows=rows, known=then)


def manifest_of(here: Installation, version: str | None) -> Manifest:
    """The manifest of a data set, by default the newest; says what to do when there is none."""
    manifest = stored_manifest(here, version)
    if manifest is None:
        wanted = f"no data set {version!r}" if version else "no data set yet"
        raise TailorbirdError(f"There is {wanted}: run `tailorbird features` to build one.")
    return manifest


@cache
def open_dataset(version: str) -> Dataset:
    """The data set of that version; opened once a process, since several tasks of a flow look at it."""
    here = current()
    manifest = manifest_of(here, version)
    names: Sequence[str] = ("interactions", "users", "items", "user_features", "item_features")
    return Dataset(manifest, **{name: here.lake.read_dataset(version, name) for name in names})


def newest_version() -> str:
    """The newest data set's name; says what to do when there is none."""
    return str(manifest_of(current(), None)["version"])
