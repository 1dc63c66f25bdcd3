"""Takes events in: pseudonyms, row rules, duplicates; then quarantine and ledger, then the lake."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from expectations import events as promises
from infra.bulk import array, copy
from infra.identity import remember
from infra.installation import Installation, current
from infra.schema import identities, items, quarantine, suppressions, users
from models import columns
from models.shapes import tabular
from models.shapes.mapping import Mapping
from tasks import ledger, sift
from tasks.batches import Promises, ahead, batch_of, judge, pseudonymised, spread, time_span
from tasks.known_ids import KnownIds
from tasks.progress import progress
from tasks.quality import BatchRefusedError, refusal
from tasks.sources import files
from tasks.sources.mappings import read_mapping

_SAMPLE_ROWS = 20_000
_LAKE_COLUMNS = (columns.RECEIVED_AT, columns.SOURCE, columns.BATCH_ID, columns.MONTH)


@dataclass(frozen=True)
class _Intake:
    """What stays the same from chunk to chunk."""

    here: Installation
    mapping: Mapping
    batch: ledger.Batch
    catalogue: pa.Array
    routed: pa.Array
    suppressed: pa.Array
    agreed: pa.Array
    received_at: datetime
    known: KnownIds
    introduced: set[str] = field(default_factory=set)

    def shape(self, rows: pa.Table, first: int) -> tuple[pa.Table, dict[str, str]]:
        """Canonical, pseudonymous, numbered and annotated rows, and the names that were used."""
        events, names = pseudonymised(tabular.events(rows, self.mapping.events), self.here.key)
        numbered = sift.fingerprint(events).append_column(sift.ROW, pa.array(range(first, first + len(rows))))
        return sift.annotate(numbered, self.catalogue, self.received_at.timestamp()), names

    def judged(self, rows: pa.Table, size: int) -> pa.Table:
        """A sample of the rows that the rules are for: neither dropped nor routed elsewhere."""
        dropped = pc.is_in(rows[columns.USER_KEY], value_set=self._unwelcome(rows))
        routed = pc.is_in(rows[columns.ITEM_ID], value_set=self.routed)
        return spread(rows.filter(pc.invert(pc.or_(dropped, routed))), size)

    def take(self, rows: pa.Table, chunk: int, names: dict[str, str]) -> None:
        """Store one chunk: first what Postgres keeps, in one transaction, then the events, once."""
        unwelcome = self._unwelcome(rows)
        done = sift.sift(rows, promises.RULES, unwelcome, self.routed, self.known.among(rows))
        profile = {**done.counts, "rules": sift.rule_counts(done.quarantined), **time_span(rows)}
        with self.here.engine.begin() as connection:
            introduce(connection, self._newcomers(names, unwelcome), self.mapping, self.batch.batch_id)
            store_quarantined(connection, self.batch.batch_id, chunk, done.quarantined)
            ledger.record_chunk(connection, self.batch.batch_id, chunk, done.counts, profile)
        self.here.lake.append_events(self._for_lake(done.accepted), self.batch.batch_id, chunk)
        self.known.add(done.accepted)
        self.introduced.update(names)

    def _newcomers(self, names: dict[str, str], unwelcome: pa.Array) -> dict[str, str]:
        """The names that this run has not stored yet; those of rows that are dropped are never stored."""
        dropped = set(unwelcome.to_pylist())
        return {i: key for i, key in names.items() if i not in self.introduced and key not in dropped}

    def _unwelcome(self, rows: pa.Table) -> pa.Array:
        """Whose rows are dropped: who is suppressed or refused, and where consent is absent, all who never gave it."""
        if self.mapping.consent == "given":
            return self.suppressed
        keys = pc.unique(rows[columns.USER_KEY]).drop_null()
        return keys.filter(pc.invert(pc.is_in(keys, value_set=self.agreed)))

    def _for_lake(self, accepted: pa.Table) -> pa.Table:
        helpers = (sift.ROW, promises.IN_CATALOGUE, promises.OCCURRED_S, promises.AHEAD_S)
        rows = accepted.drop_columns(list(helpers))
        month = pc.strftime(rows[columns.OCCURRED_AT], "%Y-%m")
        received = pa.repeat(pa.scalar(self.received_at, pa.timestamp("us", tz="UTC")), len(rows))
        added = (
            received,
            pa.repeat(self.mapping.name, len(rows)),
            pa.repeat(self.batch.batch_id, len(rows)),
            month,
        )
        for name, values in zip(_LAKE_COLUMNS, added, strict=True):
            rows = rows.append_column(name, values)
        return rows


def introduce(connection: Connection, names: dict[str, str], mapping: Mapping, batch_id: str) -> None:
    """Make sure that everybody in the batch is known, with the consent declared; a stored refusal stays."""
    remember(connection, names)
    declared = {
        "attributes": {},
        "consent": mapping.consent == "given",
        "consent_source": mapping.consent_note,
    }
    rows = [{"user_key": key, "batch_id": batch_id, **declared} for key in sorted(names.values())]
    if rows:
        connection.execute(insert(users).on_conflict_do_nothing(), rows)


def forget(connection: Connection, batch_id: str) -> None:
    """Take out again whom a refused batch has introduced."""
    theirs = users.c.batch_id == batch_id
    connection.execute(delete(identities).where(identities.c.user_key.in_(select(users.c.user_key).where(theirs))))
    connection.execute(delete(users).where(theirs))


def store_quarantined(connection: Connection, batch_id: str, chunk: int, rows: pa.Table) -> None:
    """Keep the rows that broke a rule, with the rules they broke; a repeat of the chunk replaces them."""
    connection.execute(delete(quarantine).where(quarantine.c.batch_id == batch_id, quarantine.c.chunk == chunk))
    kept = zip(rows[sift.ROW].to_pylist(), rows[sift.RULES].to_pylist(), sift.payloads(rows), strict=True)
    lines = ((batch_id, number, chunk, array(rules), json.dumps(payload)) for number, rules, payload in kept)
    copy(connection, "quarantine", ("batch_id", "row_number", "chunk", "rule_ids", "payload"), lines)


def _open(here: Installation, mapping: Mapping, batch: ledger.Batch) -> _Intake:
    refused = select(users.c.user_key).where(users.c.consent.is_(False))
    unwelcome = select(suppressions.c.user_key).union(refused)
    consenting = select(users.c.user_key).where(users.c.consent).except_(select(suppressions.c.user_key))
    with here.engine.connect() as connection:
        known = connection.execute(select(items.c.item_id, items.c.available)).all()
        gone = pa.array(connection.execute(unwelcome).scalars().all(), pa.string())
        agreed = pa.array(connection.execute(consenting).scalars().all(), pa.string())
    catalogue = pa.array([item for item, _ in known], pa.string())
    routed = pa.array([item for item, available in known if not available], pa.string())
    return _Intake(here, mapping, batch, catalogue, routed, gone, agreed, datetime.now(UTC), KnownIds(here.lake))


def _shaped(intake: _Intake, path: Path) -> Iterator[tuple[pa.Table, dict[str, str]]]:
    first = 0
    for rows in files.chunks(path, tabular.needed(intake.mapping.events)):
        yield intake.shape(rows, first)
        first += len(rows)


def _read(intake: _Intake, path: Path) -> pa.Table:
    """Go through the file chunk by chunk, skipping what an earlier run has stored; returns a sample for the suite."""
    rows_in_file = files.row_count(path)
    share = max(1, _SAMPLE_ROWS * files.CHUNK_ROWS // max(rows_in_file, 1))
    stored = intake.here.lake.committed_chunk(intake.batch.batch_id)
    samples = []
    with progress("events", rows_in_file) as advance:
        for chunk, (shaped, names) in enumerate(ahead(_shaped(intake, path))):
            samples.append(intake.judged(shaped, share))
            if chunk > stored:
                intake.take(shaped, chunk, names)
            advance(len(shaped))
    return pa.concat_tables(samples)


@task(description="Events of one file: into the lake, into quarantine, or counted; every row once.")
def ingest_events(mapping_name: str, location: str | None = None) -> dict[str, Any]:
    """Ingest the events that a mapping names; returns the batch's line in the ledger.

    The same file again changes nothing; after a crash it goes on where it stopped. Raises BatchRefusedError when the
    batch as a whole is not what its suite expects: then nothing of it stays.
    """
    here, mapping = current(), read_mapping(mapping_name, location)
    path, batch = batch_of(mapping, mapping.events, "events")
    with ledger.hold(here.engine, batch.batch_id):
        with here.engine.begin() as connection:
            status = ledger.open_batch(connection, batch)
        if status != ledger.COMMITTED:
            # One writer at a time, or two batches could both bring an event that neither finds in the lake.
            with ledger.hold(here.engine, "the lake's events", wait=True):
                sample = _read(_open(here, mapping, batch), path)
                _close(here, batch, sample)
        with here.engine.connect() as connection:
            return ledger.entry(connection, batch.batch_id)


def _close(here: Installation, batch: ledger.Batch, sample: pa.Table) -> None:
    """Let the suite decide: the batch becomes visible, or its rows leave the lake again."""
    with here.engine.connect() as connection:
        profiles = ledger.chunk_profiles(connection, batch.batch_id)
    findings = judge("events", Promises(promises.RULES, promises.PROFILE_BOUNDS), sample, profiles)
    reason = refusal(findings)
    if reason:
        here.lake.remove_batch(batch.batch_id)
    with here.engine.begin() as connection:
        if not reason:
            ledger.close_batch(connection, batch.batch_id, findings)
            return
        forget(connection, batch.batch_id)
        ledger.refuse_batch(connection, batch.batch_id, findings, reason)
    raise BatchRefusedError(f"Batch {batch.batch_id} was refused and nothing of it was kept. {reason}")
