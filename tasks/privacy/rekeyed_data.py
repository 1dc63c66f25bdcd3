"""Re-keys the lake, with its data sets so that models stay comparable, and the tables of PostgreSQL.

The tables change in one transaction, so that readers see all new keys or none.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from deltalake import DeltaTable
from sqlalchemy import Connection, Engine, select, text, update

from infra.configuration.settings import Settings
from infra.database.bulk_copy import copy_table
from infra.database.schema.ledger_schema import ingest_repeats
from infra.database.schema.schema import datasets
from infra.keys.credentials import FOLDER
from infra.keys.identity import rekeyed
from infra.keys.pseudonym_key_rotation import Rotation
from infra.lake import compaction
from infra.lake.compaction import purge, rewrite
from infra.lake.delta_lake import DATASET_FILES, EVENT_FILES, Lake
from models import columns
from models.ingest.tabular import transform
from models.primitives.arrow_sql import query, texts
from tasks.datasets.snapshot_tables import ENGINE, content_hash, keys_of, stored_rows
from tasks.ingest.rows.quarantine import read_repeats, store_repeats
from tasks.ingest.validation.event_identity import PAYLOAD_COLUMNS, add_fingerprints
from tasks.privacy.register import ARRAYS, FIELDS, GROUPED, PRESENT, USER_KEYS, KeyColumn, key_columns

_MONTH_MARK: Final = "pseudonym-key of {}"
_TABLE_MARK: Final = "pseudonym-key"
_NAME: Final = "ids-of-repeats-{}.arrow"
_OLD, _NEW = "old", "new"
_EVENT_FILES: Final = "read_parquet({files}, union_by_name = true)"
_REKEY_ARRAY: Final = f"""
    UPDATE event_inbox SET payload = payload || jsonb_build_object('{{name}}', (
        SELECT jsonb_agg(rekeyed.new ORDER BY own.place)
        FROM jsonb_array_elements_text(payload -> '{{name}}') WITH ORDINALITY AS own (key, place)
        LEFT JOIN rekeyed ON rekeyed.old = own.key)) WHERE {GROUPED}"""


def rekey_events(lake: Lake, rotation: Rotation) -> Iterator[str]:
    """Re-key all events and delete the old files; yields each finished month.

    Each month is one commit with a mark, so that a stopped rotation continues there.
    """
    table = lake.events()
    if table is None:
        return
    for month, added in missing_months(lake, rotation):
        if added:
            change = partial(rekeyed_events, added=added)
            rewrite(table, change, EVENT_FILES, _MONTH_MARK.format(month), rotation.number, month)
            table.update_incremental()
        yield month
    purge(table)


def missing_months(lake: Lake, rotation: Rotation) -> list[tuple[str, list[str]]]:
    """Return the months of the events with the keys that each lacks. Raises RotationRefusedError."""
    table, owned = lake.events(), lake.ownership()
    months = [row.month for row in compaction.months(table)] if table else []
    marks = [table.transaction_version(_MONTH_MARK.format(month)) if table else None for month in months]
    keys = [rotation.missing(mark, owned.key if owned else None) for mark in marks]
    return list(zip(months, keys, strict=True))


def rekeyed_events(rows: pa.Table, added: list[str]) -> pa.Table:
    """Return stored events under new user keys."""
    changed = rekeyed_columns(rows, added)
    for name in changed.column_names:
        rows = _with(rows, name, changed[name])
    return rows


def rekeyed_columns(rows: pa.Table, added: list[str]) -> pa.Table:
    """Return the columns that depend on user keys: the new keys, ids derived from the old ones, and hashes."""
    people = rows[columns.USER_KEY].combine_chunks().dictionary_encode()
    keys = rekeyed(people.dictionary, added).take(people.indices)
    stated = with_columns(rows, PAYLOAD_COLUMNS)
    derived = pc.equal(stated[columns.EVENT_ID], transform.identified(stated)[columns.EVENT_ID])
    stated = _with(stated, columns.USER_KEY, keys)
    ids = pc.if_else(derived, transform.identified(stated)[columns.EVENT_ID], stated[columns.EVENT_ID])
    stated = add_fingerprints(_with(stated, columns.EVENT_ID, ids))
    return stated.select([columns.USER_KEY, columns.EVENT_ID, columns.PAYLOAD_HASH])


def with_columns(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return these columns of events; those that a lake of an earlier version lacks are null."""
    stored = set(rows.column_names)
    return pa.table({name: rows[name] if name in stored else pa.nulls(len(rows), pa.string()) for name in names})


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def rekey_datasets(lake: Lake, known: list[str], rotation: Rotation) -> Iterator[str]:
    """Re-key the data sets of these versions and delete the files of interrupted builds; yields each finished table."""
    for version in lake.stored_datasets():
        if version not in known:
            lake.drop_dataset(version)
    for (version, name), added in missing_tables(lake, known, rotation).items():
        _rekey(lake.dataset_table(version, name), added, rotation.number)
        yield f"{version} {name}"


def missing_tables(lake: Lake, known: list[str], rotation: Rotation) -> dict[tuple[str, str], list[str]]:
    """Return the tables of these data sets with the keys that each lacks. Raises RotationRefusedError."""
    owned = lake.ownership()
    earlier = owned.key if owned else None
    return {
        (version, name): rotation.missing(lake.dataset_table(version, name).transaction_version(_TABLE_MARK), earlier)
        for version, names in lake.stored_datasets().items()
        for name in names
        if version in known
    }


def _rekey(table: DeltaTable, added: list[str], number: int) -> None:
    names = [key for key in USER_KEYS if key in table.to_pyarrow_dataset().schema.names]
    if added and names and table.file_uris():
        rewrite(table, partial(_rekeyed_table, names=names, added=added), DATASET_FILES, _TABLE_MARK, number)
    if names:
        purge(table)


def _rekeyed_table(rows: pa.Table, names: list[str], added: list[str]) -> pa.Table:
    for name in names:
        people = rows[name].combine_chunks().dictionary_encode()
        keys = pa.DictionaryArray.from_arrays(people.indices, rekeyed(people.dictionary, added))
        rows = _with(rows, name, keys.cast(pa.string()))
    return rows


def dataset_versions(connection: Connection) -> list[str]:
    """Return the versions of the data sets in the database."""
    return list(connection.execute(select(datasets.c.version).order_by(datasets.c.version)).scalars())


def update_manifests(connection: Connection, lake: Lake) -> None:
    """Update every manifest: its rows and content hashes, and the version of the events that has its inputs."""
    events = lake.events()
    for version, manifest in connection.execute(select(datasets.c.version, datasets.c.manifest)).all():
        stored = {name: stored_rows(lake, version, name) for name in manifest["content_hash"]}
        with duckdb.connect() as engine:
            hashes = {name: content_hash(engine, rows, keys_of(name)) for name, rows in stored.items()}
            counts = {name: len(engine.sql(f"FROM {rows}")) for name, rows in stored.items()}
        changed = manifest | {"rows": manifest["rows"] | counts, "content_hash": hashes, "hashed_by": ENGINE}
        changed["events_version"] = events.version() if events else manifest["events_version"]
        row = datasets.c.version == version
        connection.execute(update(datasets).where(row).values(manifest=changed))


def save_ids(engine: Engine, lake: Lake, settings: Settings, rotation: Rotation) -> None:
    """Write the new ids of all repeated events to a file, which a continued rotation reads.

    An id derived from a user key can be computed again only while the lake has the event under the old id.
    """
    path = _ids_path(settings, rotation)
    if path.exists():
        return
    with engine.connect() as connection:
        repeated = _repeated_ids(connection)
    if not len(repeated):
        return
    mappings = [_id_mapping(lake, repeated, month, added) for month, added in missing_months(lake, rotation) if added]
    if mappings:
        draft = path.with_suffix(".draft")
        feather.write_feather(pa.concat_tables(mappings), str(draft))
        draft.replace(path)


def rekey_repeats(connection: Connection, settings: Settings, rotation: Rotation) -> None:
    """Store the repeated events of every batch under the saved ids."""
    path = _ids_path(settings, rotation)
    if not path.exists():
        return
    id_mapping = feather.read_table(str(path))
    for batch_id in _repeat_batches(connection):
        for chunk, rows in read_repeats(connection, batch_id):
            store_repeats(connection, {(batch_id, chunk): _with_new_ids(rows, id_mapping)})


def delete_ids(settings: Settings) -> None:
    """Delete the file, which links old ids to new ones."""
    for path in (settings.var / FOLDER).glob(_NAME.format("*")):
        path.unlink()


def _ids_path(settings: Settings, rotation: Rotation) -> Path:
    return settings.var / FOLDER / _NAME.format(rotation.number)


def _repeat_batches(connection: Connection) -> Sequence[str]:
    return connection.execute(select(ingest_repeats.c.batch_id).distinct()).scalars().all()


def _repeated_ids(connection: Connection) -> pa.Table:
    """Return the ids of all repeated events, each once."""
    tables = [pa.table({columns.EVENT_ID: pa.array([], pa.string())})]
    for batch_id in _repeat_batches(connection):
        tables += [rows.select([columns.EVENT_ID]) for _, rows in read_repeats(connection, batch_id)]
    return pa.concat_tables(tables).group_by(columns.EVENT_ID).aggregate([])


def _id_mapping(lake: Lake, repeated: pa.Table, month: str, added: list[str]) -> pa.Table:
    """Return the old and new ids of a month's repeated events, for ids that change."""
    source = _EVENT_FILES.format(files=texts(lake.event_files(months=[month])))
    events = query(
        f"SELECT events.* FROM {source} AS events SEMI JOIN repeated USING ({columns.EVENT_ID})", repeated=repeated
    )
    ids = pa.table({_OLD: events[columns.EVENT_ID], _NEW: rekeyed_columns(events, added)[columns.EVENT_ID]})
    return ids.filter(pc.not_equal(ids[_OLD], ids[_NEW]))


def _with_new_ids(rows: pa.Table, id_mapping: pa.Table) -> pa.Table:
    positions = pc.index_in(rows[columns.EVENT_ID], id_mapping[_OLD])
    ids = pc.coalesce(id_mapping[_NEW].take(positions), rows[columns.EVENT_ID])
    return _with(rows, columns.EVENT_ID, ids)


def rekey_tables(connection: Connection, added: list[str], generation: int) -> Iterator[str]:
    """Re-key all tables by the added keys of the chain; yields each finished table."""
    known = key_columns(connection)
    _create_mapping(connection, known, added)
    for keys in known:
        same = f"{keys.table}.{keys.column} = rekeyed.old AND {keys.where}"
        connection.execute(text(f"UPDATE {keys.table} SET {keys.column} = rekeyed.new FROM rekeyed WHERE {same}"))
        yield keys.table
    for table, column, name in FIELDS:
        value = f"jsonb_set({column}, '{{{name}}}', to_jsonb(rekeyed.new))"
        same = f"{column} ->> '{name}' = rekeyed.old"
        connection.execute(text(f"UPDATE {table} SET {column} = {value} FROM rekeyed WHERE {same}"))
        yield table
    for name in ARRAYS:
        connection.execute(text(_REKEY_ARRAY.format(name=name)))
        yield "event_inbox"
    present = f"UPDATE event_inbox SET key_version = :generation WHERE {PRESENT}"
    connection.execute(text(present), {"generation": generation})
    connection.execute(text("UPDATE identity.users SET key_version = :generation"), {"generation": generation})


def count_tables(connection: Connection) -> int:
    """Return the number of steps that `rekey_tables` yields."""
    return len(key_columns(connection)) + len(FIELDS) + len(ARRAYS)


def tidy(engine: Engine) -> None:
    """Remove old rows, and statistics with old keys, from PostgreSQL."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def _create_mapping(connection: Connection, known: list[KeyColumn], added: list[str]) -> None:
    """Create the temporary table `rekeyed` with every user key, so that no pseudonym key is sent to the server."""
    selects = [f"SELECT {keys.column} AS key FROM {keys.table} WHERE {keys.where}" for keys in known]
    selects += [f"SELECT {column} ->> '{name}' FROM {table}" for table, column, name in FIELDS]
    selects += [
        f"SELECT jsonb_array_elements_text(payload -> '{name}') FROM event_inbox WHERE {GROUPED}" for name in ARRAYS
    ]
    statement = f"SELECT key FROM ({' UNION '.join(selects)}) AS all_keys WHERE key IS NOT NULL"
    old = pa.array(connection.execute(text(statement)).scalars(), pa.string())
    connection.execute(text("CREATE TEMP TABLE rekeyed (old text PRIMARY KEY, new text NOT NULL) ON COMMIT DROP"))
    copy_table(connection, "rekeyed", pa.table({"old": old, "new": rekeyed(old, added)}))
    connection.execute(text("ANALYZE rekeyed"))
