"""Re-keys the data sets of the lake, so that models trained on them stay comparable."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from sqlalchemy import Connection, select, update

from infra.database.schema.schema import datasets
from infra.keys.identity import rekeyed
from infra.keys.pseudonym_key_rotation import Rotation
from infra.lake import rewriting
from infra.lake.delta_lake import DATASET_FILES, Lake
from models import columns
from models.primitives.arrow_sql import texts
from tasks.datasets.load_dataset import DatasetManifest
from tasks.datasets.snapshot_tables import ENGINE, content_hash, keys_of

_KEYS: Final = (columns.USER_KEY, "device", "known")
"""Columns with user keys, of all tables of a data set."""
_MARK: Final = "pseudonym-key"


def rekey_datasets(lake: Lake, known: list[str], rotation: Rotation) -> Iterator[str]:
    """Re-key the data sets of these versions and delete the files of interrupted builds; yields each finished table."""
    for version in lake.stored_datasets():
        if version not in known:
            lake.drop_dataset(version)
    for (version, name), added in missing(lake, known, rotation).items():
        _rekey(lake.dataset_table(version, name), added, rotation.number)
        yield f"{version} {name}"


def missing(lake: Lake, known: list[str], rotation: Rotation) -> dict[tuple[str, str], list[str]]:
    """Return the tables of these data sets with the keys that each lacks. Raises RotationRefusedError."""
    owned = lake.ownership()
    earlier = owned.key if owned else None
    return {
        (version, name): rotation.missing(lake.dataset_table(version, name).transaction_version(_MARK), earlier)
        for version, names in lake.stored_datasets().items()
        for name in names
        if version in known
    }


def _rekey(table: DeltaTable, added: list[str], number: int) -> None:
    names = [key for key in _KEYS if key in table.to_pyarrow_dataset().schema.names]
    if added and names and table.file_uris():
        rewriting.rewrite(table, partial(_rekeyed, names=names, added=added), DATASET_FILES, _MARK, number)
    if names:
        rewriting.purge(table)


def _rekeyed(rows: pa.Table, names: list[str], added: list[str]) -> pa.Table:
    for name in names:
        people = rows[name].combine_chunks().dictionary_encode()
        keys = pa.DictionaryArray.from_arrays(people.indices, rekeyed(people.dictionary, added))
        rows = rows.set_column(rows.column_names.index(name), name, keys.cast(pa.string()))
    return rows


def versions(connection: Connection) -> list[str]:
    """Return the versions of the data sets in the database."""
    return list(connection.execute(select(datasets.c.version).order_by(datasets.c.version)).scalars())


def update_manifests(connection: Connection, lake: Lake) -> None:
    """Update every manifest: its content hashes, and the version of the events that has its inputs."""
    events = lake.events()
    for version, manifest in connection.execute(select(datasets.c.version, datasets.c.manifest)).all():
        changed = {**manifest, "content_hash": _hashes(lake, version, manifest), "hashed_by": ENGINE}
        changed["events_version"] = events.version() if events else manifest["events_version"]
        row = datasets.c.version == version
        connection.execute(update(datasets).where(row).values(manifest=changed))


def _hashes(lake: Lake, version: str, manifest: DatasetManifest) -> dict[str, str]:
    hashes = {}
    with duckdb.connect() as engine:
        for name in manifest["content_hash"]:
            files = lake.dataset_files(version, name)
            rows = f"read_parquet({texts(files)})" if files else "(SELECT 1 AS empty WHERE false)"
            hashes[name] = content_hash(engine, rows, keys_of(name))
    return hashes
