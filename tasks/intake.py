"""Takes chunks of events in, whatever they came as: consent, row rules, duplicates; first Postgres, then the lake."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, delete, select

from expectations import events as promises
from infra.bulk import array, copy, insert_new
from infra.identity import remember
from infra.installation import Installation
from infra.schema import identities, items, quarantine, suppressions, users
from models import columns
from tasks import ledger, sift
from tasks.batches import SAMPLE_ROWS, Promises, ahead, judge, spread, time_span
from tasks.known_ids import KnownIds
from tasks.progress import progress
from tasks.quality import BatchRefusedError, refusal

_HELPERS = (sift.ROW, promises.IN_CATALOGUE, promises.OCCURRED_S, promises.AHEAD_S)


@dataclass(frozen=True)
class Policy:
    """What is decided for a whole source."""

    source: str
    consent: Literal["given", "absent", "opt-in", "opt-out"]
    """given: declared for everybody. absent or opt-in: only who gave it. opt-out: all but who refused."""
    consent_note: str
    unknown_items: Literal["quarantine", "accept"] = "quarantine"


def _nothing_else(connection: Connection) -> None:
    """What most chunks say beyond their events."""


@dataclass(frozen=True)
class Part:
    """One chunk of a batch: its events, pseudonymous, hashed and numbered, and what else its rows came to."""

    events: pa.Table
    names: dict[str, str]
    """Raw id → user key of everybody in it."""
    consent: pa.ChunkedArray | None = None
    """What each event itself says about consent; null where it says nothing."""
    routed: int = 0
    unreadable: pa.Table | None = None
    """Rows that are none, already with their number and rule ids."""
    update: Callable[[Connection], None] = _nothing_else
    """Stores what the chunk says about the catalogue and about users."""

    @property
    def read(self) -> int:
        """Rows that this chunk came to."""
        return len(self.events) + self.routed + (len(self.unreadable) if self.unreadable is not None else 0)


@dataclass
class Intake:
    """A batch on its way in: what the installation knows, and what this run has stored already."""

    here: Installation
    policy: Policy
    batch: ledger.Batch
    catalogue: pa.Array
    routed: pa.Array
    suppressed: pa.Array
    refused: pa.Array
    agreed: pa.Array
    received_at: datetime
    known: KnownIds
    introduced: set[str] = field(default_factory=set)

    def annotated(self, events: pa.Table) -> pa.Table:
        """The events with what the row rules look at."""
        accepted = self.policy.unknown_items == "accept"
        catalogue = pc.unique(events[columns.ITEM_ID]) if accepted else self.catalogue
        return sift.annotate(events, catalogue, self.received_at.timestamp())

    def dropped(self, part: Part) -> Any:
        """Which events are dropped: of who is suppressed, and of who did not agree, by the source's policy."""
        keys = part.events[columns.USER_KEY]
        gone = pc.is_in(keys, value_set=self.suppressed)
        if self.policy.consent in {"absent", "opt-in"}:
            unasked = pc.and_(pc.is_valid(keys), pc.invert(pc.is_in(keys, value_set=self.agreed)))
        else:
            unasked = pc.is_in(keys, value_set=self.refused)
        if part.consent is not None:
            unasked = pc.coalesce(pc.invert(part.consent), unasked)
        return pc.or_(gone, unasked)

    def judged(self, part: Part, size: int) -> pa.Table:
        """A sample of the rows that the rules are for: neither dropped nor routed elsewhere."""
        routed = pc.is_in(part.events[columns.ITEM_ID], value_set=self.routed)
        shopped = part.events.filter(pc.invert(pc.or_(self.dropped(part), routed)))
        return self.annotated(spread(shopped, size))

    def take(self, part: Part, chunk: int) -> None:
        """Store one chunk: first what Postgres keeps, in one transaction, then the events, once."""
        dropped = self.dropped(part)
        welcome = self.annotated(part.events.filter(pc.invert(dropped)))
        nobody = pa.array([], pa.string())
        done = sift.sift(welcome, promises.RULES, nobody, self.routed, self.known.among(welcome))
        bad = [done.quarantined, *([part.unreadable] if part.unreadable is not None else [])]
        counts = done.counts | {
            "read": part.read,
            "suppressed": part.read - len(welcome) - part.routed - sum(map(len, bad[1:])),
            "routed": done.counts["routed"] + part.routed,
            "quarantined": sum(map(len, bad)),
        }
        profile = {**counts, "rules": _sum(map(sift.rule_counts, bad)), **time_span(part.events)}
        with self.here.engine.begin() as connection:
            self._introduce(connection, part, welcome)
            part.update(connection)
            store_quarantined(connection, self.batch.batch_id, chunk, *bad)
            ledger.record_chunk(connection, self.batch.batch_id, chunk, counts, profile)
        self.here.lake.append_events(self.for_lake(done.accepted), self.batch.batch_id, chunk)
        self.known.add(done.accepted)

    def _introduce(self, connection: Connection, part: Part, welcome: pa.Table) -> None:
        """Make sure that everybody who is welcome is known, with the consent declared; a stored refusal stays."""
        here = set(pc.unique(welcome[columns.USER_KEY]).to_pylist()) - self.introduced
        remember(connection, {user_id: key for user_id, key in part.names.items() if key in here})
        declared = ("{}", self.policy.consent != "absent", self.policy.consent_note, self.batch.batch_id)
        names = (columns.USER_KEY, columns.ATTRIBUTES, columns.CONSENT, "consent_source", columns.BATCH_ID)
        insert_new(connection, users, names, ((key, *declared) for key in here if key is not None))
        self.introduced |= here

    def for_lake(self, accepted: pa.Table) -> pa.Table:
        """The accepted events as the lake keeps them, with where they come from and their month."""
        rows = accepted.drop_columns([name for name in _HELPERS if name in accepted.column_names])
        received = pa.repeat(pa.scalar(self.received_at, pa.timestamp("us", tz="UTC")), len(rows))
        if columns.RECEIVED_AT in rows.column_names:
            received = pc.coalesce(rows[columns.RECEIVED_AT], received)
            rows = rows.drop_columns([columns.RECEIVED_AT])
        origin = {
            columns.RECEIVED_AT: received,
            columns.SOURCE: pa.repeat(self.policy.source, len(rows)),
            columns.BATCH_ID: pa.repeat(self.batch.batch_id, len(rows)),
            columns.MONTH: pc.strftime(rows[columns.OCCURRED_AT], "%Y-%m"),
        }
        for name, values in origin.items():
            rows = rows.append_column(name, values)
        return rows


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total


def forget(connection: Connection, batch_id: str) -> None:
    """Take out again whom a refused batch has introduced."""
    theirs = users.c.batch_id == batch_id
    connection.execute(delete(identities).where(identities.c.user_key.in_(select(users.c.user_key).where(theirs))))
    connection.execute(delete(users).where(theirs))


def store_quarantined(connection: Connection, batch_id: str, chunk: int, *tables: pa.Table) -> None:
    """Keep the rows that broke a rule, with the rules they broke; a repeat of the chunk replaces them."""
    connection.execute(delete(quarantine).where(quarantine.c.batch_id == batch_id, quarantine.c.chunk == chunk))
    for rows in tables:
        kept = zip(rows[sift.ROW].to_pylist(), rows[sift.RULES].to_pylist(), sift.payloads(rows), strict=True)
        lines = ((batch_id, number, chunk, array(rules), json.dumps(payload)) for number, rules, payload in kept)
        copy(connection, "quarantine", ("batch_id", "row_number", "chunk", "rule_ids", "payload"), lines)


def open_intake(here: Installation, policy: Policy, batch: ledger.Batch) -> Intake:
    """What the installation knows now: catalogue, consent, suppressions, and the lake's events."""
    with here.engine.connect() as connection:

        def keys(statement: Any) -> pa.Array:
            return pa.array(connection.execute(statement).scalars().all(), pa.string())

        suppressed = keys(select(suppressions.c.user_key))
        refused = keys(select(users.c.user_key).where(users.c.consent.is_(False)))
        agreed = keys(select(users.c.user_key).where(users.c.consent))
        catalogue = keys(select(items.c.item_id))
        routed = keys(select(items.c.item_id).where(items.c.available.is_(False)))
    now = datetime.now(UTC)
    return Intake(here, policy, batch, catalogue, routed, suppressed, refused, agreed, now, KnownIds(here.lake))


def ingest_batch(
    here: Installation,
    policy: Policy,
    batch: ledger.Batch,
    parts: Callable[[Intake], Iterator[tuple[Part, int]]],
    steps: int,
) -> dict[str, Any]:
    """Bring a batch in, or go on where an earlier run stopped; returns its line in the ledger.

    `parts` gives the chunks, always the same ones, each with the number of steps (of `steps`) that it moves on.
    Raises BatchRefusedError when the batch as a whole is not what its suite expects: then nothing of it stays.
    """
    with ledger.hold(here.engine, batch.batch_id):
        with here.engine.begin() as connection:
            status = ledger.open_batch(connection, batch)
        if status != ledger.COMMITTED:
            # One writer at a time, or two batches could both bring an event that neither finds in the lake.
            with ledger.hold(here.engine, "the lake's events", wait=True):
                intake = open_intake(here, policy, batch)
                close(intake, _take_all(intake, parts, steps))
        with here.engine.connect() as connection:
            return ledger.entry(connection, batch.batch_id)


def _take_all(intake: Intake, parts: Callable[[Intake], Iterator[tuple[Part, int]]], steps: int) -> pa.Table:
    """Take what an earlier run has not stored yet; returns a sample for the suite."""
    stored = intake.here.lake.committed_chunk(intake.batch.batch_id)
    samples = []
    with progress(intake.batch.dataset, steps) as advance:
        for chunk, (part, moved) in enumerate(ahead(parts(intake))):
            samples.append(intake.judged(part, max(1, SAMPLE_ROWS * moved // max(steps, 1))))
            if chunk > stored:
                intake.take(part, chunk)
            advance(moved)
    return pa.concat_tables(samples)


def close(intake: Intake, sample: pa.Table) -> None:
    """Let the suite decide: the batch becomes visible, or its rows leave the lake again."""
    here, batch = intake.here, intake.batch
    with here.engine.connect() as connection:
        profiles = ledger.chunk_profiles(connection, batch.batch_id)
    findings = judge(batch.dataset, Promises(promises.RULES, promises.PROFILE_BOUNDS), sample, profiles)
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
