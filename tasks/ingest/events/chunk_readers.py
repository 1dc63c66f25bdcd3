"""Reads files of events as chunks of a batch: tables, and lines of an export with their updates of entities."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.batches import check_contract
from infra.installation import Installation
from infra.keys.credentials import DEVICE
from infra.keys.identity import pseudonyms, pseudonyms_of
from models import columns
from models.ingest import canonical_schema
from models.ingest.canonical_schema import ANONYMOUS_ID, IS_DEVICE, ParsedLines
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.source_config import people
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import EventsMapping, Mapping
from models.primitives.arrow_sql import query
from models.primitives.json_types import JsonObject
from tasks.ingest.events.classification import BatchContext, EventChunk, RunState
from tasks.ingest.ledger import NEVER
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import CONSENT, Update
from tasks.ingest.rows.quarantine import quarantined_lines
from tasks.ingest.rows.stated_values import ItemChanges, ItemUpdateCache, trait_updates
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import prepare_events, pseudonymise
from tasks.sources import line_reader, table_files
from tasks.sources.mapping_files import part_of

_SOURCE: Final = "the column of consent of the user's latest event"
Keyed = Callable[[pa.Array, pa.Array], pa.Array]
"""Returns the keys of the ids of lines, each of a user or, where the second array is true, of a device."""
_CALL_SOURCE: Final = "context.consent of the user's latest event"


def shape_chunk(
    installation: Installation,
    mapping: Mapping,
    rows: table_files.Chunk,
    numbering: table_files.RowNumbering = table_files.BY_ROW,
    *,
    prepared: bool = True,
) -> EventChunk:
    """Return rows of a table as a chunk of events; without `prepared` for `classification.join`."""
    part: EventsMapping = part_of(mapping, "events")
    selected = transform.selected(rows.rows, part)
    positions = rows.numbers[np.flatnonzero(selected)]
    key, cleaned = installation.key, transform.events(rows.rows.filter(selected), part, mapping.spelling)
    stated, owners = _owners(cleaned.rows, key)
    if prepared:
        events, users = prepare_events(stated, mapping, key, positions, identified=part.event_id is not None)
    else:
        events, users = stated.append_column(columns.ROW, pa.array(positions)), pa.table({})
    return EventChunk(
        events,
        users,
        routed=len(rows.rows) - len(events),
        unreadable=quarantined_lines(rows.misfits, numbering, key),
        updates=partial(_updates, events, owners),
        cleaned=cleaned.counts,
        unread=numbering.describe_unreadable(cleaned.unread, events, positions),
        numbering=numbering,
    )


def _owners(rows: pa.Table, key: bytes) -> tuple[pa.Table, list[Update]]:
    """Return the rows without the devices of users, and the latest user of each of these devices."""
    if ANONYMOUS_ID not in rows.column_names:
        return rows, []
    statement = f"""
        SELECT {ANONYMOUS_ID} AS device, max_by(user_id, (coalesce(occurred_at, '-infinity'), user_id)) AS user_id,
            max(occurred_at) AS at FROM rows WHERE device IS NOT NULL AND user_id IS NOT NULL AND NOT {IS_DEVICE}
        GROUP BY device ORDER BY device"""
    named = rows.select([ANONYMOUS_ID, IS_DEVICE, columns.USER_ID, columns.OCCURRED_AT])
    owned = query(statement, rows=named)
    devices = pseudonyms(owned["device"].combine_chunks(), key, DEVICE).to_pylist()
    users = pseudonyms(owned[columns.USER_ID].combine_chunks(), key).to_pylist()
    stated = zip(devices, users, owned["at"].to_pylist(), strict=True)
    return rows.drop_columns([ANONYMOUS_ID]), [
        Update(apply.DEVICE, device, {columns.USER_KEY: user}, at) for device, user, at in stated
    ]


def _updates(events: pa.Table, owners: Sequence[Update], context: BatchContext, run: RunState) -> Iterator[Update]:
    """Yield agreements after a refusal, and the owners of devices."""
    yield from consent_updates(context, events, run)
    suppressed = set(context.suppressed.to_pylist())
    yield from (one for one in owners if not {one.key, one.payload[columns.USER_KEY]} & suppressed)


def consent_updates(context: BatchContext, events: pa.Table, run: RunState) -> Iterator[Update]:
    """Yield the agreements of users who refused before and agree by an event."""
    stated = columns.CONSENT in events.column_names and events[columns.CONSENT].null_count < len(events)
    if not run.refused_before or not stated:
        return
    statement = "SELECT user_key, max(occurred_at) AS agreed_at FROM events WHERE consent GROUP BY 1"
    agreements = query(statement, events=events.select([columns.USER_KEY, columns.OCCURRED_AT, columns.CONSENT]))
    relevant = run.refused_before - set(context.suppressed.to_pylist())
    keys, moments = agreements[columns.USER_KEY].to_pylist(), agreements["agreed_at"].to_pylist()
    for key, moment in zip(keys, moments, strict=True):
        if key in relevant and moment is not None:
            yield Update(CONSENT, key, {columns.CONSENT: True, "source": _SOURCE}, moment)


def read_table(
    installation: Installation, mapping: Mapping, path: Path, *, prepared: bool = True
) -> Iterator[tuple[EventChunk, int]]:
    """Yield all chunks of a file, each with its number of rows."""
    part = part_of(mapping, "events")
    csv = table_files.csv_of(part)
    numbering = table_files.row_numbering(path, csv)
    for rows in table_files.chunks(path, part.read, csv=csv):
        yield shape_chunk(installation, mapping, rows, numbering, prepared=prepared), len(rows.rows)


def validate_file(path: Path, address: str, part: transform.Part, tolerated: float = 0.0) -> int:
    """Validate a table against its contract; returns its number of rows. Raises ContractViolationError.

    A larger share of misfit lines than `tolerated` makes the file unreadable.
    """
    csv, required = table_files.csv_of(part), transform.kinds(part)
    rows = table_files.row_count(path, csv, required, tolerated)
    check_contract(
        address,
        table_files.column_kinds(path, csv),
        rows,
        required,
        part.optional,
        table_files.hint(path, csv, required),
    )
    return rows


def _unreadable(lines: ParsedLines, rows: pa.Table, name: str, first: int) -> pa.Table:
    """Return unreadable lines for quarantine: their places and faults, without their text."""
    bad = lines.unreadable
    located = query(
        'SELECT bad.*, rows."offset" FROM bad JOIN rows USING (row_number) ORDER BY row_number',
        bad=bad,
        rows=rows.select([line_reader.ROW_NUMBER, line_reader.OFFSET]),
    )
    return pa.table(
        {
            "file": pa.repeat(name, len(located)),
            "line": pc.add(located[line_reader.ROW_NUMBER], 1),
            "offset": located[line_reader.OFFSET],
            row_triage.REASON: located[canonical_schema.REASON],
            "sha256": located[canonical_schema.SHA256],
            columns.ROW: pa.array(range(first, first + len(located)), pa.int64()),
            row_triage.RULES: pa.array([[row_triage.UNREADABLE]] * len(located), pa.list_(pa.string())),
        }
    )


def without_placeholders(lines: ParsedLines, placeholders: list[str]) -> ParsedLines:
    """Drop statements about ids that stand for no person. Events with such ids are left to the rules."""
    tables: dict[str, pa.Table] = {name: getattr(lines, name) for name in ("users", "answers", "aliases")}
    rows = {name: table.filter(people(table[columns.USER_ID], placeholders)) for name, table in tables.items()}
    anonymous = rows["aliases"][canonical_schema.ANONYMOUS_ID]
    rows["aliases"] = rows["aliases"].filter(people(anonymous, placeholders))
    return replace(lines, **rows)


def _trait_users(lines: ParsedLines, key: bytes) -> pa.Table:
    """Return the users who state traits, with their consent to that; a user may occur twice."""
    stated = lines.users.select([columns.USER_ID, canonical_schema.IS_DEVICE, columns.CONSENT])
    rows, users = pseudonymise(stated, key)
    return users.take(rows[row_triage.USER_CODE]).append_column(columns.CONSENT, rows[columns.CONSENT])


def _with_last(chunks: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, bool]]:
    """Yield each chunk, and whether it is the last."""
    following = next(chunks, None)
    while following is not None:
        rows, following = following, next(chunks, None)
        yield rows, following is None


def no_people(mapping: LineMapping) -> list[str]:
    """Return the ids that stand for no person whose traits, answers and devices count."""
    return [*mapping.placeholders, *mapping.traffic.internal_users]


def read_lines(
    context: BatchContext, mapping: LineMapping, path: Path, address: str, size: int | None = None
) -> Iterator[tuple[EventChunk, int]]:
    """Yield all chunks of a file, of `size` bytes if that is given, each with the number of its bytes."""
    first, before, name = 0, 0, address.rpartition("/")[2]
    key = context.installation.key
    updates = EntityUpdates(partial(pseudonyms_of, key=key))
    placeholders = no_people(mapping)
    for rows, last in _with_last(line_reader.chunks(path, size)):
        lines = without_placeholders(mapping.parse_lines(rows), placeholders)
        raw = lines.events.drop_columns([canonical_schema.ROW_NUMBER])
        events, users = prepare_events(raw, mapping, key, np.arange(first, first + len(raw)))
        chunk = EventChunk(
            events,
            users,
            _trait_users(lines, key),
            pc.unique(lines.items[columns.ITEM_ID]).cast(pa.string()),
            len(lines.routed),
            _unreadable(lines, rows, name, first + len(events)),
            partial(updates.of_chunk, lines, last),
            lines.cleaned,
        )
        read = int(rows.schema.metadata[line_reader.READ])
        yield chunk, read - before
        first, before = first + chunk.read, read


@dataclass
class EntityUpdates:
    """Derives the updates of a batch from its chunks, which come in order: most values of items repeat earlier ones."""

    keyed: Keyed
    _catalogue: ItemUpdateCache = field(default_factory=ItemUpdateCache)
    _changes: ItemChanges = field(default_factory=ItemChanges)

    def of_chunk(self, lines: ParsedLines, last: bool, context: BatchContext, run: RunState) -> Iterator[Update]:
        """Yield the updates of a chunk, which may be the `last`, except those of suppressed users."""
        mapping = context.mapping
        assert isinstance(mapping, LineMapping)
        items = lines.items.append_column(columns.AVAILABLE, mapping.merchandise(lines.items))
        yield from self._catalogue.updates(items, context.now)
        yield from self._changes.updates(lines.item_changes)
        if last:
            yield from self._catalogue.repeated()
        suppressed = set(context.suppressed.to_pylist())
        keyed = self.keyed
        for update in (*_consents(lines, keyed, run), *_traits(lines, keyed), *_devices(lines, keyed)):
            if update.key not in suppressed and update.payload.get(columns.USER_KEY) not in suppressed:
                yield update


def _present(row: JsonObject | None) -> JsonObject:
    return {name: value for name, value in (row or {}).items() if value is not None}


def _consents(lines: ParsedLines, keyed: Keyed, run: RunState) -> Iterator[Update]:
    """Yield the latest answer of each user, with the latest refusal.

    The lake stores the consent of events, so it is an update only for users who refused before. A refusal without a
    time counts as of now, and an agreement without a time is ignored.
    """
    answers = query(
        """
        SELECT user_id, is_device, max_by(consent, (moment, NOT consent)) AS consent, max(moment) AS moment,
            max(moment) FILTER (WHERE NOT consent) AS refused_at, bool_or(explicit) AS explicit
        FROM (
            SELECT user_id, is_device, consent, explicit,
                least(coalesce(occurred_at, CASE WHEN NOT consent THEN now() END), now()) AS moment
            FROM (SELECT *, false AS explicit FROM events
                  UNION ALL BY NAME SELECT *, consent AS explicit FROM answers)
            WHERE consent IS NOT NULL AND user_id IS NOT NULL AND (occurred_at IS NOT NULL OR NOT consent)
        ) GROUP BY ALL
        """,
        events=lines.events.select([columns.USER_ID, IS_DEVICE, columns.CONSENT, columns.OCCURRED_AT]),
        answers=lines.answers,
    )
    keys = _keys(answers, columns.USER_ID, keyed)
    run.refused_before.update(keys.filter(pc.is_valid(answers["refused_at"]).combine_chunks()).to_pylist())
    refused_before = pc.is_in(keys, value_set=pa.array(run.refused_before, pa.string()))
    news = np.flatnonzero(pc.or_(answers["explicit"].combine_chunks(), refused_before))
    for key, row in zip(keys.take(news).to_pylist(), answers.take(news).to_pylist(), strict=True):
        refused_at = row["refused_at"].isoformat() if row["refused_at"] else None
        answer = {columns.CONSENT: row[columns.CONSENT], "source": _CALL_SOURCE, "refused_at": refused_at}
        yield Update(CONSENT, key, answer, row["moment"])


def _traits(lines: ParsedLines, keyed: Keyed) -> Iterator[Update]:
    """Yield the traits of each user, from calls without a refusal."""
    keys = _keys(lines.users, columns.USER_ID, keyed).to_pylist()
    stated: dict[str, dict[str, list[tuple[datetime, str]]]] = {}
    values = (lines.users[name].to_pylist() for name in (columns.ATTRIBUTES, columns.OCCURRED_AT, columns.CONSENT))
    for user, row, moment, agreed in zip(keys, *values, strict=True):
        if agreed is not False:
            for name, value in _present(row).items():
                stated.setdefault(user, {}).setdefault(name, []).append((moment or NEVER, value))
    for user, traits in stated.items():
        yield from trait_updates(user, traits)


def _devices(lines: ParsedLines, keyed: Keyed) -> list[Update]:
    """Return the owner of each device: by the first call of a page, or else by the last one of a server or a file."""
    devices = _keys(lines.aliases, ANONYMOUS_ID, keyed).to_pylist()
    owners = _keys(lines.aliases.drop_columns([IS_DEVICE]), columns.USER_ID, keyed).to_pylist()
    names = lines.aliases.column_names
    authority = lines.aliases[columns.AUTHORITY].to_pylist() if columns.AUTHORITY in names else [None] * len(devices)
    moments = lines.aliases[columns.OCCURRED_AT].to_pylist()
    # Undated calls come first, and the greater owner is the last.
    calls = zip(devices, owners, moments, authority, strict=True)
    stated = sorted(calls, key=lambda one: (one[2] or NEVER, one[1]))
    by_authority = {name: [one for one in stated if one[-1] == name] for name in (columns.CLAIM, columns.SIGNED)}
    others = [one for one in stated if one[-1] not in by_authority]
    # The last one of a device counts: claims give way to signed calls, and the first of each kind stays.
    ordered = [*by_authority[columns.CLAIM][::-1], *by_authority[columns.SIGNED][::-1], *others]
    return list(
        {
            device: Update(apply.DEVICE, device, _present({columns.USER_KEY: owner, columns.AUTHORITY: authority}), at)
            for device, owner, at, authority in ordered
        }.values()
    )


def _keys(rows: pa.Table, name: str, keyed: Keyed) -> pa.Array:
    """Return the keys of a column of ids; without the column `is_device`, all are of users."""
    is_device = rows[IS_DEVICE].combine_chunks() if IS_DEVICE in rows.column_names else pa.repeat(False, len(rows))
    return keyed(rows[name].combine_chunks(), is_device)
