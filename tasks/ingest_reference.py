"""Takes the catalogue and the users in: one transaction a file, so that half a catalogue is never seen."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from prefect import task
from sqlalchemy import Connection, select

from expectations import items as item_promises
from expectations import users as user_promises
from infra.bulk import upsert
from infra.identity import remember
from infra.installation import Installation, current
from infra.schema import items, suppressions, users
from models import columns
from models.shapes import tabular
from models.shapes.mapping import Mapping
from tasks import ledger, sift
from tasks.batches import SAMPLE_ROWS, Part, Promises, batch_of, judge, pseudonymised, spread
from tasks.intake import store_quarantined
from tasks.quality import BatchRefusedError, Findings, refusal
from tasks.sources import files
from tasks.sources.mappings import read_mapping

_ITEMS = Promises(item_promises.RULES, item_promises.PROFILE_BOUNDS)
_USERS = Promises(user_promises.RULES, user_promises.PROFILE_BOUNDS)

Store = Callable[[Connection, pa.Table], None]


@task(description="The catalogue of one file, into Postgres.")
def ingest_items(mapping_name: str, location: str | None = None) -> dict[str, Any]:
    """Ingest the items that a mapping names; returns the batch's line in the ledger. Raises BatchRefusedError."""
    here, mapping = current(), read_mapping(mapping_name, location)
    path, batch = batch_of(mapping, mapping.items, "items")

    def shape(rows: pa.Table) -> pa.Table:
        return tabular.items(rows, mapping.items)

    def store(connection: Connection, rows: pa.Table) -> None:
        names = (
            columns.ITEM_ID,
            columns.TITLE,
            columns.CATEGORY,
            columns.BRAND,
            columns.PRICE,
            columns.AVAILABLE,
        )
        values = (rows[name].to_pylist() for name in names)
        attributes = map(json.dumps, rows[columns.ATTRIBUTES].to_pylist())
        lines = zip(*values, attributes, [batch.batch_id] * len(rows), strict=True)
        upsert(connection, items, (*names, columns.ATTRIBUTES, columns.BATCH_ID), lines)

    return _ingest(here, path, batch, mapping.items, shape, store, _ITEMS, columns.ITEM_ID)


@task(description="The users of one file and the traits on the mapping's allow-list, into Postgres.")
def ingest_users(mapping_name: str, location: str | None = None) -> dict[str, Any]:
    """Ingest the users that a mapping names; returns the batch's line in the ledger. Raises BatchRefusedError."""
    here, mapping = current(), read_mapping(mapping_name, location)
    path, batch = batch_of(mapping, mapping.users, "users")
    names: dict[str, str] = {}

    def shape(rows: pa.Table) -> pa.Table:
        shaped, used = pseudonymised(tabular.users(rows, mapping.users), here.key)
        names.update(used)
        return shaped

    def store(connection: Connection, rows: pa.Table) -> None:
        stored = set(rows[columns.USER_KEY].to_pylist())
        remember(connection, {user_id: key for user_id, key in names.items() if key in stored})
        _store_users(connection, rows, mapping, batch.batch_id)

    return _ingest(here, path, batch, mapping.users, shape, store, _USERS, columns.USER_KEY)


def _store_users(connection: Connection, rows: pa.Table, mapping: Mapping, batch_id: str) -> None:
    """Traits are replaced; the consent of somebody known stays as it is."""
    consent = (mapping.consent == "given", mapping.consent_note)
    traits = zip(rows[columns.USER_KEY].to_pylist(), rows[columns.ATTRIBUTES].to_pylist(), strict=True)
    lines = ((key, json.dumps(attributes), *consent, batch_id) for key, attributes in traits)
    named = (columns.USER_KEY, columns.ATTRIBUTES, columns.CONSENT, "consent_source", columns.BATCH_ID)
    upsert(connection, users, named, lines, kept=(columns.CONSENT, "consent_source"))


def _ingest(
    here: Installation,
    path: Any,
    batch: ledger.Batch,
    part: Part,
    shape: Any,
    store: Store,
    promises: Promises,
    key: str,
) -> dict[str, Any]:
    with ledger.hold(here.engine, batch.batch_id):
        with here.engine.begin() as connection:
            status = ledger.open_batch(connection, batch)
        if status != ledger.COMMITTED:
            chunks = files.chunks(path, tabular.needed(part), csv=files.csv_of(part))
            rows = pa.concat_tables([shape(chunk) for chunk in chunks])
            _take(here, batch, rows, store, promises, key)
        with here.engine.connect() as connection:
            return ledger.entry(connection, batch.batch_id)


def _take(here: Installation, batch: ledger.Batch, rows: pa.Table, store: Store, promises: Promises, key: str) -> None:
    with here.engine.begin() as connection:
        gone = pa.array(connection.execute(select(suppressions.c.user_key)).scalars().all(), pa.string())
        done = sift.sift_reference(rows, promises.rules, gone, key)
        profile = {**done.counts, "rules": sift.rule_counts(done.quarantined)}
        findings = judge(batch.dataset, promises, spread(rows, SAMPLE_ROWS), [profile])
        reason = refusal(findings)
        if not reason:
            store(connection, done.accepted)
            store_quarantined(connection, batch.batch_id, 0, done.quarantined)
            ledger.record_chunk(connection, batch.batch_id, 0, done.counts, profile)
            ledger.close_batch(connection, batch.batch_id, findings)
            return
    _refuse(here, batch, findings, reason)


def _refuse(here: Installation, batch: ledger.Batch, findings: Findings, reason: str) -> None:
    with here.engine.begin() as connection:
        ledger.refuse_batch(connection, batch.batch_id, findings, reason)
    raise BatchRefusedError(f"Batch {batch.batch_id} was refused and nothing of it was kept. {reason}")
