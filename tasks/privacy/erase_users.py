"""Erases the users of open requests from the database and the lake, and continues where it was stopped.

Their keys are kept in a file beside the secrets too: a database of before would bring the users back.
"""

import json
import os
from collections import Counter
from datetime import datetime
from functools import partial, reduce
from operator import or_
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from sqlalchemy import Connection, Engine, delete, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from infra import locks
from infra.configuration.settings import Settings
from infra.database.bulk_copy import copy_table
from infra.database.privacy_requests import Asked, record_request
from infra.database.schema.ledger_schema import audit_log, ingest_repeats
from infra.database.schema.privacy_schema import DONE, ERASE, ERASED, OPEN, privacy_requests, privacy_subjects
from infra.database.schema.schema import suppressions, users
from infra.installation import Installation
from infra.keys.credentials import ERASED_USERS, FOLDER
from infra.keys.trust import lock
from infra.lake.compaction import purge, rewrite
from infra.lake.delta_lake import DATASET_FILES, EVENT_FILES, Lake
from infra.private_files.folders import staged
from infra.registry.client import Registry
from models import columns
from models.errors import TailorbirdError
from tasks.datasets.event_workspace import drop_orphaned_workspaces
from tasks.ingest.ledger import record_deleted
from tasks.ingest.rows.quarantine import read_repeats, store_repeats
from tasks.monitoring.backtest.run_backtest import delete_backtests
from tasks.orchestration.guards import without_values
from tasks.orchestration.progress import progress
from tasks.privacy.erased_models import erase_figures
from tasks.privacy.register import ARRAYS, FIELDS, USER_KEYS, key_columns
from tasks.privacy.rekeyed_data import dataset_versions, tidy, update_manifests, with_columns
from tasks.privacy.requests import add_devices

_REASON: Final = "A restored database knew users who had been erased since."
_MARK: Final = "erasure"
"""The mark of a commit that erased users, with the number of the newest request."""
_KEPT: Final = ("suppressions", "identity.privacy_subjects")
"""Tables that keep erased users out, and say whom a request names until it is done."""
_SUBJECTS: Final = (
    select(privacy_subjects)
    .join(privacy_requests, privacy_requests.c.request_id == privacy_subjects.c.request_id)
    .where(privacy_requests.c.kind == ERASE)
)
_TELL: Final = """
    INSERT INTO identity.erasure_notices (user_id) SELECT DISTINCT user_id FROM identity.privacy_subjects
    WHERE request_id = :number AND user_id IS NOT NULL AND EXISTS (SELECT FROM streams) ON CONFLICT DO NOTHING"""
_CLAIMED: Final = "SELECT EXISTS (SELECT FROM event_inbox WHERE batch_id IS NOT NULL AND moved_at IS NULL)"
_REMEMBER: Final = """
    INSERT INTO users (user_key, attributes, consent, consent_source, batch_id, consent_at, refused_at, erased_at)
    SELECT key, '{}', false, 'erasure', '', now(), now(), now() FROM gone"""
"""A refusal of what came before, which everything that stores data honours. A later consent ends it."""
_REPEATED_ROWS: Final = """
    DELETE FROM quarantine_repeats AS repeated USING quarantine AS waiting, gone
    WHERE waiting.content = repeated.content AND waiting.payload ->> 'user_key' = gone.key"""
_BLANK: Final = """
    UPDATE event_inbox SET payload = payload || jsonb_build_object('{name}', (
        SELECT jsonb_agg(CASE WHEN gone.key IS NULL THEN own.key END ORDER BY own.place)
        FROM jsonb_array_elements_text(payload -> '{name}') WITH ORDINALITY AS own (key, place)
        LEFT JOIN gone ON gone.key = own.key))
    WHERE kind = 'answers' AND payload -> '{name}' ?| (SELECT array_agg(key) FROM gone)"""


def waiting_users(engine: Engine) -> dict[str, str | None]:
    """Return the keys of all users whom a request to erase names, with their raw ids; None for devices."""
    with engine.connect() as connection:
        return {row.user_key: row.user_id for row in connection.execute(_SUBJECTS)}


@without_values
def erase_users(installation: Installation) -> dict[str, int]:
    """Erase the users of all open requests, and close these; returns the deleted rows by store.

    The tables come first, then the lake, then MLflow's figures, then the requests are closed: after a stop the same
    call deletes what is left. Raises WorkRunsError while other work uses user keys, and TailorbirdError while messages
    of a stopped move wait, or while MLflow does not answer.
    """
    engine = installation.engine
    add_devices(installation)
    with locks.exclusive(engine, "privacy erase", "Users cannot be erased") as confirm:
        with engine.connect() as connection:
            subjects = connection.execute(_SUBJECTS).all()  # of one moment: a later request waits for the next call
            known = dataset_versions(connection)
            if connection.execute(text(_CLAIMED)).scalar():
                raise TailorbirdError("Messages of the inbox wait for a move that was stopped: run the command again.")
        if not subjects:
            return {}
        keys, number = (
            pa.array({row.user_key for row in subjects}, pa.string()),
            max(row.request_id for row in subjects),
        )
        registry = Registry(installation.endpoints.mlflow_tracking_uri)
        with progress("erase users", 5) as advance:
            drop_orphaned_workspaces(installation.settings.var)
            delete_backtests(installation.settings)
            events = events_of(installation.lake, keys)
            with engine.begin() as connection:
                removed = erase_tables(connection, keys, events)
            advance(note="tables")
            removed["events of the lake"] = erase_events(installation, events, keys, number)
            advance(note="events")
            removed["rows of data sets"] = erase_datasets(installation.lake, known, keys, number)
            advance(note="data sets")
            removed += erase_figures(engine, registry, keys)
            advance(note="figures and reports")
            confirm()
            with engine.begin() as connection:
                lock(connection)
                update_manifests(connection, installation.lake)
                _close(connection, number, removed)
            tidy(engine)
            advance(note="statistics")
    return dict(removed)


def erase_tables(connection: Connection, keys: pa.Array, events: pa.Table) -> Counter[str]:
    """Delete the users' rows of all tables, and what names their events; returns the rows by table."""
    connection.execute(text("CREATE TEMP TABLE gone (key text PRIMARY KEY) ON COMMIT DROP"))
    copy_table(connection, "gone", pa.table({"key": keys}))
    removed: Counter[str] = Counter()
    removed["quarantine_repeats"] = connection.execute(text(_REPEATED_ROWS)).rowcount
    for table, column, name in FIELDS:
        statement = f"DELETE FROM {table} USING gone WHERE {column} ->> '{name}' = gone.key"
        removed[table] += connection.execute(text(statement)).rowcount
    for name in ARRAYS:
        connection.execute(text(_BLANK.format(name=name)))
    for known in key_columns(connection):
        if known.table not in _KEPT:
            where = "true" if known.table == "event_inbox" else known.where
            same = f"{known.table}.{known.column} = gone.key"
            rows = connection.execute(text(f"DELETE FROM {known.table} USING gone WHERE {same} AND {where}")).rowcount
            removed[known.table] += rows
    connection.execute(text(_REMEMBER))
    removed["ingest_repeats"] = _erase_repeats(connection, events[columns.EVENT_ID])
    shown = pc.drop_null(pc.unique(events[columns.RECOMMENDATION_ID])).to_pylist()
    statement = "DELETE FROM served_answers WHERE recommendation_id = ANY(:shown)"
    removed["served_answers"] = connection.execute(text(statement), {"shown": shown}).rowcount
    return removed


def _erase_repeats(connection: Connection, ids: pa.ChunkedArray) -> int:
    removed = 0
    for batch_id in connection.execute(select(ingest_repeats.c.batch_id).distinct()).scalars().all():
        for chunk, rows in read_repeats(connection, batch_id):
            kept = rows.filter(pc.invert(pc.is_in(rows[columns.EVENT_ID], value_set=ids.combine_chunks())))
            if len(kept) < len(rows):
                store_repeats(connection, {(batch_id, chunk): kept})
            removed += len(rows) - len(kept)
    return removed


def _close(connection: Connection, number: int, removed: Counter[str]) -> None:
    rows = {store: count for store, count in removed.items() if count}
    requests = privacy_requests.c
    waiting = requests.state == OPEN, requests.kind == ERASE, requests.request_id <= number
    closed = update(privacy_requests).where(*waiting).values(state=DONE, done_at=func.now(), removed=rows)
    for request in connection.execute(closed.returning(privacy_requests)).mappings().all():
        connection.execute(text(_TELL), {"number": request["request_id"]})
        _end_suppression(connection, request["request_id"], request["reason"] if request["suppress"] else None)
        entry = {"action": "privacy erased", "subject": f"request {request['request_id']}", "actor": request["actor"]}
        connection.execute(insert(audit_log).values(entry | {"reason": request["reason"], "detail": rows}))


def _end_suppression(connection: Connection, number: int, stay_away: str | None) -> None:
    """Forget whom a request names. With a reason to `stay_away` the users stay suppressed, until `lift`."""
    named = privacy_subjects.c.request_id == number
    keys = select(privacy_subjects.c.user_key).where(named)
    if stay_away is None:
        waited = suppressions.c.reason == ERASED, suppressions.c.user_key.in_(keys)
        connection.execute(delete(suppressions).where(*waited))
    else:
        kept = insert_unless(suppressions).from_select(["user_key", "reason"], keys.add_columns(literal(stay_away)))
        index, changed = [suppressions.c.user_key], {"reason": stay_away}
        connection.execute(kept.on_conflict_do_update(index_elements=index, set_=changed))
    connection.execute(delete(privacy_subjects).where(named))


def events_of(lake: Lake, keys: pa.Array) -> pa.Table:
    """Return the month, the batch, the id and the `recommendation_id` of the users' events."""
    table = lake.events()
    names = [columns.MONTH, columns.BATCH_ID, columns.EVENT_ID, columns.RECOMMENDATION_ID]
    if table is None:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    rows = table.to_pyarrow_dataset()
    found = rows.to_table([name for name in names if name in rows.schema.names], filter=_has(keys, [columns.USER_KEY]))
    return with_columns(found, names)


def erase_events(here: Installation, events: pa.Table, keys: pa.Array, number: int) -> int:
    """Delete the users' `events`, and all files and logs of earlier versions; returns the number of events.

    The ledger counts them month by month, so that a stop leaves out one month at most.
    """
    table = here.lake.events()
    if table is None:
        return 0
    batches = events[columns.BATCH_ID]
    for month in sorted(pc.unique(events[columns.MONTH]).to_pylist()):
        rewrite(table, partial(_without, keys=keys, names=[columns.USER_KEY]), EVENT_FILES, _MARK, number, month)
        table.update_incremental()
        with here.engine.begin() as connection:
            record_deleted(connection, Counter(batches.filter(pc.equal(events[columns.MONTH], month)).to_pylist()))
    purge(table)
    return len(events)


def erase_datasets(lake: Lake, known: list[str], keys: pa.Array, number: int) -> int:
    """Delete the users' rows of the `known` data sets, and files of interrupted builds; returns the number of rows."""
    total = 0
    for version, tables in lake.stored_datasets().items():
        if version not in known:
            lake.drop_dataset(version)
            continue
        total += sum(_erase(lake.dataset_table(version, name), keys, number) for name in tables)
    return total


def _erase(table: DeltaTable, keys: pa.Array, number: int) -> int:
    rows = table.to_pyarrow_dataset()
    names = [name for name in USER_KEYS if name in rows.schema.names]
    if not names:
        return 0
    found = rows.count_rows(filter=_has(keys, names)) if table.file_uris() else 0
    if found:
        rewrite(table, partial(_without, keys=keys, names=names), DATASET_FILES, _MARK, number)
    purge(table)
    return int(found)


def _has(keys: pa.Array, names: list[str]) -> pc.Expression:
    return reduce(or_, (pc.field(name).isin(keys) for name in names))


def _without(rows: pa.Table, keys: pa.Array, names: list[str]) -> pa.Table:
    for name in names:
        rows = rows.filter(pc.invert(pc.is_in(rows[name], value_set=keys)))
    return rows


def write_tombstones(engine: Engine, settings: Settings) -> None:
    """Write the keys of all erased users, in place of the file before."""
    with engine.connect() as connection:
        erased = {key: at.isoformat() for key, at in _erased(connection).items()}
    folder = settings.var / FOLDER
    with staged(folder) as staging:
        path = staging / ERASED_USERS
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(erased, file, indent=1, sort_keys=True)
        path.replace(folder / ERASED_USERS)


def erase_restored(installation: Installation) -> int | None:
    """Request the erasure of users whose erasure the database has forgotten; returns the request, or None."""
    try:
        kept = json.loads((installation.settings.var / FOLDER / ERASED_USERS).read_text())
    except FileNotFoundError:
        return None
    with installation.engine.begin() as connection:
        erased = _erased(connection)
        returned = [key for key, at in kept.items() if key not in erased or erased[key] < datetime.fromisoformat(at)]
        if not returned:
            return None
        asked = Asked(ERASE, dict.fromkeys(returned), "tailorbird", _REASON)
        return record_request(connection, asked, installation.settings.privacy_due_days, waits=True)


def _erased(connection: Connection) -> dict[str, datetime]:
    rows = select(users.c.user_key, users.c.erased_at).where(users.c.erased_at.is_not(None))
    return {row.user_key: row.erased_at for row in connection.execute(rows)}
