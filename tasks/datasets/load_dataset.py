"""Opens data sets: the arrays that models learn from, and what really happened afterwards."""

from dataclasses import replace
from functools import cache
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import select

from infra.database.schema.schema import datasets
from infra.installation import Installation, current
from infra.overview import situation
from models import columns
from models.datasets.dataset import Dataset
from models.errors import TailorbirdError

Manifest = dict[str, Any]
_TABLES: Final = ("interactions", "users", "items", "item_history", "user_history")


def stored_manifest(installation: Installation, version: str | None = None) -> Manifest | None:
    """The manifest of a data set, or of the newest one; None when it is not there."""
    found = select(datasets.c.manifest).order_by(datasets.c.created_at.desc()).limit(1)
    if version:
        found = found.where(datasets.c.version == version)
    with installation.engine.connect() as connection:
        manifest: Manifest | None = connection.execute(found).scalar()
    return manifest


def manifest_of(installation: Installation, version: str | None) -> Manifest:
    """The manifest of a data set, by default the newest; says what to do when there is none."""
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
    """The data set of that version; opened once a process, since several tasks of a flow look at it."""
    installation = current()
    manifest = manifest_of(installation, version)
    # Data sets of earlier formats have no history of values.
    names = [name for name in _TABLES if name in manifest["rows"]]
    dataset = Dataset(manifest, **{name: installation.lake.read_dataset(version, name) for name in names})

    def stored(name: str, cut: int) -> pa.Table | None:
        if cut not in dataset.cuts.all():
            return None
        then = [(columns.AS_OF, "=", cut)]
        return installation.lake.read_dataset(version, name, then).drop_columns([columns.AS_OF])

    return replace(dataset, stored=stored)


def newest_version() -> str:
    """The newest data set's name; says what to do when there is none."""
    return str(manifest_of(current(), None)["version"])
