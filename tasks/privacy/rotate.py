"""Rotates the pseudonym key: re-keys every store, and continues where it was stopped."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, Engine, Row, text

from infra import locks
from infra.configuration.settings import Settings
from infra.database.bulk_copy import copy_table
from infra.keys import pseudonym_key_rotation
from infra.keys.credentials import INSTALLATION, PSEUDONYM
from infra.keys.pseudonym_key_rotation import Rotation
from infra.keys.trust import complete_rotation, lock, newest, rows
from infra.lake import ownership_checks
from infra.lake.delta_lake import Lake
from models import columns
from models.columns import ROW
from tasks.datasets.event_workspace import drop_orphaned_workspaces
from tasks.ingest.quarantine.replay_rows import QuarantinedRow, quarantined_events
from tasks.ingest.rows.quarantine import remake_content
from tasks.monitoring.backtest.run_backtest import delete_backtests
from tasks.orchestration.guards import without_values
from tasks.orchestration.progress import Advance, progress
from tasks.privacy.erase_users import write_tombstones
from tasks.privacy.rekeyed_data import (
    count_tables,
    dataset_versions,
    delete_ids,
    missing_months,
    missing_tables,
    rekey_datasets,
    rekey_events,
    rekey_repeats,
    rekey_tables,
    rekeyed_columns,
    save_ids,
    tidy,
    update_manifests,
)

_BATCH_ROWS: Final = 20_000
_SELECT_BATCH: Final = text(
    "SELECT batch_id, row_number, payload FROM quarantine "
    f"WHERE payload ? '{columns.PAYLOAD_HASH}' AND (batch_id, row_number) > (:batch, :row) "
    "ORDER BY batch_id, row_number LIMIT :most"
)
_UPDATE_PAYLOADS: Final = text(
    "UPDATE quarantine SET payload = payload || jsonb_build_object('event_id', rekeyed_events.event_id, "
    "'payload_hash', rekeyed_events.payload_hash) FROM rekeyed_events "
    "WHERE quarantine.batch_id = rekeyed_events.batch_id AND quarantine.row_number = rekeyed_events.row_number"
)


@without_values
def rotate_pseudonym_key(engine: Engine, settings: Settings, actor: str, reason: str) -> None:
    """Replace the pseudonym key; every raw user id still leads to the same user.

    The lake comes first, step by step with marks; then the tables and the record of the new key, in one transaction;
    then the key's file. After a stop nothing else works until the same call is repeated, which continues there. Raises
    WorkRunsError while other work uses user keys, and RotationRefusedError for a key of the environment that is
    recorded already.
    """
    lake = Lake(settings.lake)
    with locks.exclusive(engine, "keys rotate pseudonym", f"The {PSEUDONYM} cannot be rotated") as confirm:
        check = partial(_check_lake, engine, lake)
        rotation = pseudonym_key_rotation.begin_rotation(engine, settings, actor, reason, check)
        if rotation is None:
            delete_ids(settings)
            write_tombstones(engine, settings)
            return
        drop_orphaned_workspaces(settings.var)
        delete_backtests(settings)
        with progress("rotate the pseudonym key", _steps(engine, lake, rotation)) as advance:
            save_ids(engine, lake, settings, rotation)
            _rekey_lake(engine, lake, rotation, advance)
            confirm()
            _rekey_database(engine, lake, settings, rotation, advance)
        delete_ids(settings)
        pseudonym_key_rotation.end_rotation(settings, rotation)
        write_tombstones(engine, settings)
        tidy(engine)


def _check_lake(engine: Engine, lake: Lake, rotation: Rotation) -> None:
    """Raise an error if the lake is another installation's, or if its key is not part of the chain."""
    with engine.connect() as connection:
        recorded, known = newest(rows(connection)), dataset_versions(connection)
    owned = lake.ownership()
    if owned is not None and INSTALLATION in recorded and owned.installation != recorded[INSTALLATION].fingerprint:
        ownership_checks.refuse_lake(lake, owned.installation, recorded[INSTALLATION].fingerprint)
    missing_months(lake, rotation)
    missing_tables(lake, known, rotation)


def _steps(engine: Engine, lake: Lake, rotation: Rotation) -> int:
    with engine.connect() as connection:
        known, in_tables = dataset_versions(connection), count_tables(connection)
    return len(missing_months(lake, rotation)) + len(missing_tables(lake, known, rotation)) + in_tables


def _rekey_lake(engine: Engine, lake: Lake, rotation: Rotation, advance: Advance) -> None:
    """Re-key the lake table by table with marks, then record the new key in the lake."""
    with engine.connect() as connection:
        known = dataset_versions(connection)
    for month in rekey_events(lake, rotation):
        advance(note=f"events of {month}")
    for name in rekey_datasets(lake, known, rotation):
        advance(note=f"data set {name}")
    lake.note_key(rotation.fingerprint)


def _rekey_database(engine: Engine, lake: Lake, settings: Settings, rotation: Rotation, advance: Advance) -> None:
    added = rotation.added_since(rotation.recorded)
    with engine.begin() as connection:
        lock(connection)
        rekey_quarantine(connection, added)
        rekey_repeats(connection, settings, rotation)
        for table in rekey_tables(connection, added, rotation.generation):
            advance(note=table)
        remake_content(connection)
        update_manifests(connection, lake)
        complete_rotation(connection)


def rekey_quarantine(connection: Connection, added: list[str]) -> None:
    """Compute event ids and hashes from the new user keys; call it before `rekey_tables`, which stores the keys.

    Until a replay, they would otherwise depend on the old keys.
    """
    connection.execute(
        text(
            "CREATE TEMP TABLE rekeyed_events (batch_id text, row_number bigint, event_id text, payload_hash text) "
            "ON COMMIT DROP"
        )
    )
    last: tuple[str, int] = ("", -1)
    while rows := connection.execute(_SELECT_BATCH, {"batch": last[0], "row": last[1], "most": _BATCH_ROWS}).all():
        last = (rows[-1].batch_id, rows[-1].row_number)
        copy_table(connection, "rekeyed_events", _rekeyed(rows, added))
    connection.execute(_UPDATE_PAYLOADS)


def _rekeyed(rows: Sequence[Row[Any]], added: list[str]) -> pa.Table:
    batches = pa.array([row.batch_id for row in rows], pa.string())
    numbers = pa.array([row.row_number for row in rows], pa.int64())
    # Numbered by position, because row numbers repeat from batch to batch.
    waiting = (QuarantinedRow(position, row.payload) for position, row in enumerate(rows))
    events = rekeyed_columns(quarantined_events(waiting), added)
    position = {columns.BATCH_ID: batches, ROW: numbers}
    return pa.table(position | {name: events[name] for name in (columns.EVENT_ID, columns.PAYLOAD_HASH)})
