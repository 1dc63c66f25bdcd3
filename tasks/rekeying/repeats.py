"""Repeated events under new user keys: new ids are noted before the lake changes, and stored with the tables."""

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
from tasks.ingest.undo.repeated_events import read_repeats, store_repeats
from tasks.rekeying.events import missing, remade

_NAME: Final = "ids-of-repeats-{}.arrow"
_OLD, _NEW = "old", "new"
_LAKE: Final = "read_parquet({files}, union_by_name = true)"


def note_ids(engine: Engine, lake: Lake, settings: Settings, rotation: Rotation) -> None:
    """Write the new ids of all repeated events to a file; a rotation that goes on finds it.

    An id that was made of a user's key can be made again only while the lake holds the event under the old id.
    """
    path = _path(settings, rotation)
    if path.exists():
        return
    with engine.connect() as connection:
        wanted = _wanted(connection)
    if not len(wanted):
        return
    made = [_made(lake, wanted, month, added) for month, added in missing(lake, rotation) if added]
    if made:
        draft = path.with_suffix(".draft")
        feather.write_feather(pa.concat_tables(made), str(draft))
        draft.replace(path)


def rekey_repeats(connection: Connection, settings: Settings, rotation: Rotation) -> None:
    """Store the repeated events of every batch under the noted ids."""
    path = _path(settings, rotation)
    if not path.exists():
        return
    made = feather.read_table(str(path))
    for batch_id in _batches(connection):
        for chunk, rows in read_repeats(connection, batch_id):
            store_repeats(connection, {(batch_id, chunk): _renamed(rows, made)})


def forget_ids(settings: Settings) -> None:
    """Delete the file, which links old ids to new ones."""
    for path in (settings.var / FOLDER).glob(_NAME.format("*")):
        path.unlink()


def _path(settings: Settings, rotation: Rotation) -> Path:
    return settings.var / FOLDER / _NAME.format(rotation.number)


def _batches(connection: Connection) -> Sequence[str]:
    return connection.execute(select(ingest_repeats.c.batch_id).distinct()).scalars().all()


def _wanted(connection: Connection) -> pa.Table:
    """Return the ids of all repeated events, each once."""
    held = [pa.table({columns.EVENT_ID: pa.array([], pa.string())})]
    for batch_id in _batches(connection):
        held += [rows.select([columns.EVENT_ID]) for _, rows in read_repeats(connection, batch_id)]
    return pa.concat_tables(held).group_by(columns.EVENT_ID).aggregate([])


def _made(lake: Lake, wanted: pa.Table, month: str, added: list[str]) -> pa.Table:
    """Return the ids of a month's repeated events that change, old and new."""
    source = _LAKE.format(files=texts(lake.event_files(months=[month])))
    found = query(f"SELECT held.* FROM {source} AS held SEMI JOIN wanted USING ({columns.EVENT_ID})", wanted=wanted)
    ids = pa.table({_OLD: found[columns.EVENT_ID], _NEW: remade(found, added)[columns.EVENT_ID]})
    return ids.filter(pa.compute.not_equal(ids[_OLD], ids[_NEW]))


def _renamed(rows: pa.Table, made: pa.Table) -> pa.Table:
    places = pa.compute.index_in(rows[columns.EVENT_ID], made[_OLD])
    ids = pa.compute.coalesce(made[_NEW].take(places), rows[columns.EVENT_ID])
    return rows.set_column(rows.column_names.index(columns.EVENT_ID), columns.EVENT_ID, ids)
