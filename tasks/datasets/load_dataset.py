"""Opens data sets: their manifests, the training data of models, and the events after each cut."""

from dataclasses import replace
from functools import cache
from typing import Final, NotRequired, TypedDict

import pyarrow as pa
from sqlalchemy import select

from infra.database.schema.schema import datasets
from infra.installation import Installation, current
from infra.overview import situation
from models import columns
from models.datasets.dataset import Dataset
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

_TABLES: Final = ("interactions", "users", "items", "item_history", "user_history")


class Definition(TypedDict):
    """The inputs of a data set. The same definition on the same batches gives the same data set."""

    format: int
    events_version: int
    split: JsonObject
    """The values of a SplitConfig."""
    label: JsonObject
    """The values of a LabelConfig."""
    features: dict[str, list[str]]
    batches: str
    users: str
    aliases: str
    definition: str
    """A digest of all the above."""


class SnapshotRecord(TypedDict):
    """The tables of a data set as written to the lake."""

    refunds: dict[str, int]
    rows: dict[str, int]
    repeats: NotRequired[float]
    """The share of purchases of items that the user had bought before; data sets of earlier versions lack it."""
    content_hash: dict[str, str]
    hashed_by: str
    traits: list[str]


class AcceptedCheck(TypedDict):
    """A failed check that a person accepted."""

    check: str
    value: float | None
    detail: str
    reason: str
    accepted_by: str


class CheckRecord(TypedDict):
    """The results of a data set's checks."""

    figures: dict[str, float | None]
    lake: dict[str, float | None]
    null_shares: dict[str, dict[str, float]]
    warnings: list[str]
    accepted: list[AcceptedCheck]


class DatasetManifest(Definition, SnapshotRecord, CheckRecord):
    """A data set with its version and its cuts (epoch s). Manifests of older formats lack some keys."""

    version: str
    validation_from: int
    test_from: int
    as_of: int


def stored_manifest(installation: Installation, version: str | None = None) -> DatasetManifest | None:
    """Return the manifest of a data set, or of the newest one; None if there is none."""
    query = select(datasets.c.manifest).order_by(datasets.c.created_at.desc()).limit(1)
    if version:
        query = query.where(datasets.c.version == version)
    with installation.engine.connect() as connection:
        manifest: DatasetManifest | None = connection.execute(query).scalar()
    return manifest


def manifest_of(installation: Installation, version: str | None) -> DatasetManifest:
    """Return the manifest of a data set, by default the newest; the error for a missing one names the next step."""
    manifest = stored_manifest(installation, version)
    if manifest is None:
        newest = stored_manifest(installation) if version else None
        if newest is not None:
            raise TailorbirdError(f"There is no data set {version!r}. The newest one is {newest['version']}.")
        missing = f"There is no data set {version!r}. " if version else ""
        raise TailorbirdError(f"{missing}{situation.step(installation.engine, installation.settings)}")
    return manifest


@cache
def open_dataset(version: str) -> Dataset:
    """Open a data set; it is opened once per process, because several tasks of a flow read it."""
    installation = current()
    manifest = manifest_of(installation, version)
    dataset = Dataset(manifest, **{name: installation.lake.read_dataset(version, name) for name in _TABLES})

    def stored(name: str, cut: int) -> pa.Table | None:
        if cut not in dataset.cuts.all():
            return None
        at_cut = [(columns.AS_OF, "=", cut)]
        return installation.lake.read_dataset(version, name, at_cut).drop_columns([columns.AS_OF])

    return replace(dataset, stored=stored)


def newest_version() -> str:
    """Return the newest version; the error before the first names the next step."""
    return str(manifest_of(current(), None)["version"])
