"""Re-keys repeated events: new ids are saved before the lake changes, and stored with the tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.feather as feather
from sqlalchemy import Connection, Engine, select

from infra.configuration.settings import Settings
from infra.database.schema.ledger_schema import ingest_repeats
from infra.keys.credentials import FOLDER
from infra.keys.pseudonym_key_rotation import Rotation
from infra.lake.delta_lake import Lake
from models import columns
from models.primitives.arrow_sql import query, texts
from tasks.ingest.rows.quarantine import read_repeats, store_repeats
from tasks.rekeying.events import missing, rekeyed_columns

_NAME: Final = "ids-of-repeats-{}.arrow"
_OLD, _NEW = "old", "new"
_LAKE: Final = "read_parquet({files}, union_by_name = true)"


def save_ids(engine: Engine, lake: Lake, settings: Settings, rotation: Rotation) -> None:
    """Write the new ids of all repeated events to a file, which a continued rotation reads.

    An id derived from a user key can be computed again only while the lake has the event under the old id.
    """
    path = _path(settings, rotation)
    if path.exists():
        return
    with engine.connect() as connection:
        repeated = _repeated_ids(connection)
    if not len(repeated):
        return
    mappings = [_id_mapping(lake, repeated, month, added) for month, added in missing(lake, rotation) if added]
    if mappings:
        draft = path.with_suffix(".draft")
        feather.write_feather(pa.concat_tables(mappings), str(draft))
        draft.replace(path)


def rekey_repeats(connection: Connection, settings: Settings, rotation: Rotation) -> None:
    """Store the repeated events of every batch under the saved ids."""
    path = _path(settings, rotation)
    if not path.exists():
        return
    id_mapping = feather.read_table(str(path))
    for batch_id in _batches(connection):
        for chunk, rows in read_repeats(connection, batch_id):
            store_repeats(connection, {(batch_id, chunk): _with_new_ids(rows, id_mapping)})


def delete_ids(settings: Settings) -> None:
    """Delete the file, which links old ids to new ones."""
    for path in (settings.var / FOLDER).glob(_NAME.format("*")):
        path.unlink()


def _path(settings: Settings, rotation: Rotation) -> Path:
    return settings.var / FOLDER / _NAME.format(rotation.number)


def _batches(connection: Connection) -> Sequence[str]:
    return connection.execute(select(ingest_repeats.c.batch_id).distinct()).scalars().all()


def _repeated_ids(connection: Connection) -> pa.Table:
    """Return the ids of all repeated events, each once."""
    tables = [pa.table({columns.EVENT_ID: pa.array([], pa.string())})]
    for batch_id in _batches(connection):
        tables += [rows.select([columns.EVENT_ID]) for _, rows in read_repeats(connection, batch_id)]
    return pa.concat_tables(tables).group_by(columns.EVENT_ID).aggregate([])


def _id_mapping(lake: Lake, repeated: pa.Table, month: str, added: list[str]) -> pa.Table:
    """Return the old and new ids of a month's repeated events, for ids that change."""
    source = _LAKE.format(files=texts(lake.event_files(months=[month])))
    events = query(
        f"SELECT events.* FROM {source} AS events SEMI JOIN repeated USING ({columns.EVENT_ID})", repeated=repeated
    )
    ids = pa.table({_OLD: events[columns.EVENT_ID], _NEW: rekeyed_columns(events, added)[columns.EVENT_ID]})
    return ids.filter(pa.compute.not_equal(ids[_OLD], ids[_NEW]))


def _with_new_ids(rows: pa.Table, id_mapping: pa.Table) -> pa.Table:
    positions = pa.compute.index_in(rows[columns.EVENT_ID], id_mapping[_OLD])
    ids = pa.compute.coalesce(id_mapping[_NEW].take(positions), rows[columns.EVENT_ID])
    return rows.set_column(rows.column_names.index(columns.EVENT_ID), columns.EVENT_ID, ids)
