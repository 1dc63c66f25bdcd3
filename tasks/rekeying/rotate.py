"""Rotates the pseudonym key: re-keys every store, and goes on where it was stopped."""

from functools import partial

from sqlalchemy import Engine

from infra.configuration.settings import Settings
from infra.keys import pseudonym_key_rotation
from infra.keys.fingerprints import INSTALLATION, complete_rotation, lock, newest, rows
from infra.keys.pseudonym_key_rotation import Rotation
from infra.lake import ownership_checks
from infra.lake.delta_lake import Lake
from infra.locks import usage_lock
from tasks.datasets.event_workspace import drop_orphaned_workspaces
from tasks.ingest.quarantine.store_rows import remake_content
from tasks.orchestration.defects import without_values
from tasks.orchestration.progress import Advance, progress
from tasks.rekeying import datasets, events, tables
from tasks.rekeying.quarantine import rekey_quarantine
from tasks.rekeying.repeats import forget_ids, note_ids, rekey_repeats
from tasks.rekeying.tables import tidy


@without_values
def rotate_pseudonym_key(engine: Engine, settings: Settings, actor: str, reason: str) -> None:
    """Name all users by a new key; every earlier raw id gives the same user as before.

    Stopped at any moment, nothing else works until the same call goes on, and it ends as if it had never been stopped:
    first the lake, step by step with marks; then the tables with the record of the new key, in one transaction; then
    the key's file. Raises WorkRunsError while anything works with user keys, RotationRefusedError for a key of the
    environment that is recorded already.
    """
    lake = Lake(settings.lake)
    with usage_lock.exclusive(engine) as confirm:
        check = partial(_check_lake, engine, lake)
        rotation = pseudonym_key_rotation.begin_rotation(engine, settings, actor, reason, check)
        if rotation is None:
            forget_ids(settings)
            return
        drop_orphaned_workspaces(settings.var)
        with progress("rotate the pseudonym key", _steps(engine, lake, rotation)) as advance:
            note_ids(engine, lake, settings, rotation)
            _rekey_lake(engine, lake, rotation, advance)
            confirm()
            _rekey_database(engine, lake, settings, rotation, advance)
        forget_ids(settings)
        pseudonym_key_rotation.end_rotation(settings, rotation)
        tidy(engine)


def _check_lake(engine: Engine, lake: Lake, rotation: Rotation) -> None:
    """Raise when the lake is another installation's, or named with a key that the chain does not continue."""
    with engine.connect() as connection:
        found, known = newest(rows(connection)), datasets.versions(connection)
    owned = lake.ownership()
    if owned is not None and INSTALLATION in found and owned.installation != found[INSTALLATION].fingerprint:
        ownership_checks.refuse_lake(lake, owned.installation, found[INSTALLATION].fingerprint)
    events.missing(lake, rotation)
    datasets.missing(lake, known, rotation)


def _steps(engine: Engine, lake: Lake, rotation: Rotation) -> int:
    with engine.connect() as connection:
        known, in_tables = datasets.versions(connection), tables.count(connection)
    return len(events.missing(lake, rotation)) + len(datasets.missing(lake, known, rotation)) + in_tables


def _rekey_lake(engine: Engine, lake: Lake, rotation: Rotation, advance: Advance) -> None:
    """First what is marked table by table; once all of it is done, the lake itself says so."""
    with engine.connect() as connection:
        known = datasets.versions(connection)
    for month in events.rekey_events(lake, rotation):
        advance(note=f"events of {month}")
    for name in datasets.rekey_datasets(lake, known, rotation):
        advance(note=f"data set {name}")
    lake.note_key(rotation.fingerprint)


def _rekey_database(engine: Engine, lake: Lake, settings: Settings, rotation: Rotation, advance: Advance) -> None:
    added = rotation.added_since(rotation.recorded)
    with engine.begin() as connection:
        lock(connection)
        rekey_quarantine(connection, added)
        rekey_repeats(connection, settings, rotation)
        for table in tables.rekey_tables(connection, added, rotation.generation):
            advance(note=table)
        remake_content(connection)
        datasets.note(connection, lake)
        complete_rotation(connection)
