"""Decides for every row of a chunk what becomes of it: suppressed, routed, quarantined, duplicate or accepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations import events as promises
from expectations.rules import RowRule, flags
from models import columns
from models.columns import ROW
from models.ingest.check.rule_advice import CONFLICT as CONFLICT
from models.ingest.check.rule_advice import UNREADABLE as UNREADABLE
from models.ingest.tabular.unreadable_cells import CELLS, KEYS
from models.ingest.traffic_filter import MARKS
from models.primitives.arrow_sql import query
from tasks.ingest.validation.deduplication import ID_HASH, KnownIds
from tasks.sources.table_files import Places

RULES: Final = "rule_ids"
REASON: Final = "reason"
"""What is wrong with a row that is unreadable."""
SUGGESTIONS: Final = "suggestions"
"""What would read the unreadable cells of a row."""
USER_CODE: Final = "user_code"
SAMPLE_ROWS: Final = 20_000
"""About how many rows of a batch its suite looks at."""
HELPERS: Final = (
    *(ROW, ID_HASH, USER_CODE, promises.IN_CATALOGUE, promises.OCCURRED_S, promises.AHEAD_S),
    *(KEYS, CELLS),
)
"""Columns that are only looked at, and stored nowhere."""

_PRIVATE: Final = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.ATTRIBUTES)
"""Words and traits that quarantine does not keep: columns may be shifted, and nothing but events is replayed."""

_DESCRIBED: Final = f"""
    CASE WHEN len({CELLS}) > 0 THEN ',"{CELLS}":' || to_json(list_transform({CELLS},
        lambda cell: {{'key': cell.key, 'column': cell."column", 'value': cell.value}}))::varchar || ',"{SUGGESTIONS}":'
        || to_json(list_filter(list_transform({CELLS}, lambda cell: cell.suggestion),
            lambda one: one IS NOT NULL))::varchar
    ELSE '' END"""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TriagedRows:
    """A chunk taken apart; every row is in exactly one place."""

    accepted: pa.Table
    quarantined: pa.Table
    """The rows with their number in the file and `rule_ids`."""
    counts: dict[str, int]


@dataclass(frozen=True)
class TriagedEvents(TriagedRows):
    """Events that were taken apart."""

    repeated: pa.Table
    """The duplicates that came before in this chunk or in the lake."""


def annotate(events: pa.Table, catalogue: pa.Array | None, now: float) -> pa.Table:
    """Add what the rules look at; `now` in epoch seconds. Without a `catalogue` every item is known."""
    # Not safe: of a time in the year 9999, which stands for "never", some microseconds may get lost.
    micros = pc.cast(pc.cast(events[columns.OCCURRED_AT], pa.int64()), pa.float64(), safe=False)
    seconds = pc.divide(micros, 1e6)
    items = events[columns.ITEM_ID]
    known = pa.repeat(True, len(events))
    if catalogue is not None:
        known = pc.or_(pc.is_in(items, value_set=catalogue), pc.fill_null(pc.equal(items, columns.WHOLE_ORDER), False))
    return (
        events.append_column(promises.IN_CATALOGUE, known)
        .append_column(promises.OCCURRED_S, seconds)
        .append_column(promises.AHEAD_S, pc.subtract(seconds, now))
    )


def _named(broken: pa.Table) -> pa.Array:
    """For each row of flags the ids of the rules that it breaks."""
    names = ", ".join(f"CASE WHEN {rule} THEN '{rule}' END" for rule in broken.column_names)
    statement = f"SELECT list_filter([{names}], lambda id: id IS NOT NULL) AS {RULES} FROM broken"
    return query(statement, broken=broken)[RULES].combine_chunks()


def unsound(broken: pa.Table) -> Mask:
    """Return which rows break a rule, by their flags."""
    found: Mask = reduce(pc.or_, broken.columns).to_numpy(zero_copy_only=False)
    return found


def quarantined_rows(rows: pa.Table, broken: pa.Table, bad: Mask) -> pa.Table:
    """The rows that break a rule, with the ids of the rules."""
    chosen = pa.array(bad)
    return rows.filter(chosen).append_column(RULES, _named(broken.filter(chosen)))


def _doubtful(hashes: NDArray[np.uint64], known: KnownIds) -> tuple[Mask, Mask]:
    """Return which ids may be in the lake, and which are there twice among these; the others are new for certain."""
    order = np.argsort(hashes)
    ordered = hashes[order]
    held, twice = np.zeros(len(hashes), bool), np.zeros(len(hashes), bool)
    held[order] = known.may_hold(ordered)
    again = ordered[1:] == ordered[:-1]
    twice[order[1:]] |= again
    twice[order[:-1]] |= again
    return held, twice


def _repeats(rows: pa.Table, known: pa.Table) -> tuple[Mask, Mask]:
    """Which rows repeat an event that came before, and which use its id for something else."""
    statement = f"""
        WITH first AS (
            SELECT event_id, arg_min(payload_hash, {ROW}) AS hash, min({ROW}) AS row FROM rows GROUP BY 1
        ), stored AS (SELECT event_id, any_value(payload_hash) AS hash FROM known GROUP BY 1)
        SELECT stored.hash IS NOT NULL OR rows.{ROW} > first.row AS repeated,
               coalesce(stored.hash, first.hash) <> rows.payload_hash AS conflicting
        FROM rows JOIN first USING (event_id) LEFT JOIN stored USING (event_id) ORDER BY rows.{ROW}
    """
    found = query(statement, rows=rows.select([columns.EVENT_ID, columns.PAYLOAD_HASH, ROW]), known=known)
    conflicting = found["conflicting"].to_numpy()
    return found["repeated"].to_numpy() & ~conflicting, conflicting


def triage_events(
    rows: pa.Table, rules: Sequence[RowRule], suppressed: Mask, routed: Mask, known: KnownIds
) -> TriagedEvents:
    """Take a chunk of annotated, fingerprinted events apart.

    `suppressed` are the rows to drop, `routed` those that are no shopping. In that order a row is suppressed, routed,
    quarantined, a duplicate or accepted.
    """
    broken = flags(rows, rules)
    left = ~(suppressed | routed)
    bad = unsound(broken) & left
    candidates = np.flatnonzero(left & ~bad)
    held, twice = _doubtful(rows[ID_HASH].to_numpy()[candidates], known)
    doubtful = candidates[held | twice]
    quarantined = quarantined_rows(rows, broken, bad)
    accepted = left & ~bad
    again = rows.slice(0, 0)
    if len(doubtful):
        asked = rows.take(pa.array(doubtful)).sort_by(ROW)
        # Only what may be in the lake is looked up there: an id that a file repeats would cost a scan of all months.
        repeated, conflicting = _repeats(asked, known.among(rows.take(pa.array(candidates[held]))))
        accepted[doubtful[repeated | conflicting]] = False
        conflicts = asked.filter(pa.array(conflicting))
        reason = pa.array([[CONFLICT]] * len(conflicts), pa.list_(pa.string()))
        quarantined = pa.concat_tables([quarantined, conflicts.append_column(RULES, reason)])
        again = asked.filter(pa.array(repeated))
    kept = rows.filter(pa.array(accepted))
    return TriagedEvents(kept, quarantined, counted(suppressed, routed, kept, quarantined, again), again)


def counted(
    suppressed: Mask, routed: Mask, accepted: pa.Table, quarantined: pa.Table, repeated: pa.Table
) -> dict[str, int]:
    """Return the counts of the ledger, each by itself, so that their sum shows whether a row was lost."""
    return {
        "read": len(suppressed),
        "suppressed": int(suppressed.sum()),
        "routed": int((routed & ~suppressed).sum()),
        "quarantined": len(quarantined),
        "duplicate": len(repeated),
        "accepted": len(accepted),
    }


def rule_counts(quarantined: pa.Table) -> dict[str, int]:
    """How many rows each rule caught; a row may break several."""
    caught = pc.value_counts(pc.list_flatten(quarantined[RULES]))
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in caught}


def payloads(quarantined: pa.Table) -> pa.Table:
    """The quarantined rows as JSON: `row_number`, `rule_ids` (as PostgreSQL writes a list) and `payload`.

    They carry the pseudonym instead of the raw id, and none of `_PRIVATE`. JSON knows no infinity, so that is a text;
    a mark is there where it is true.
    """
    omitted = {*HELPERS, *MARKS, *_PRIVATE, RULES, columns.MONTH}
    shown = [field for field in quarantined.schema if field.name not in omitted]
    said = ", ".join(f'"{field.name}" := {_json(field)}' for field in shown)
    marks = [name for name in MARKS if name in quarantined.column_names]
    added = " || ".join([*(f"""CASE WHEN {name} THEN ',"{name}":true' ELSE '' END""" for name in marks), "''"])
    if CELLS in quarantined.column_names:
        added += f" || {_DESCRIBED}"
    return query(
        f"""
        SELECT {ROW}, '{{' || array_to_string({RULES}, ',') || '}}' AS {RULES},
            (to_json(struct_pack({said}))::varchar)[:-2] || {added} || '}}' AS payload
        FROM rows
        """,
        rows=quarantined,
    )


def placed(quarantined: pa.Table, places: Places) -> pa.Table:
    """Return the rows with the number of their line, or of their row, in the file."""
    if not len(quarantined):
        return quarantined
    return quarantined.append_column(places.numbered, pa.array(places.of(quarantined[ROW].to_numpy()), pa.int64()))


def _json(field: pa.Field) -> str:
    if pa.types.is_timestamp(field.type):
        return f"strftime(\"{field.name}\", '%Y-%m-%dT%H:%M:%S.%f+0000')"
    if pa.types.is_floating(field.type):
        value = f'"{field.name}"'
        return f"CASE WHEN isfinite({value}) THEN to_json({value}) ELSE to_json({value}::varchar) END"
    return f'"{field.name}"'


def systematic_sample(rows: pa.Table, size: int, among: Mask | None = None) -> pa.Table:
    """A sample of rows (or of those `among` them) in even steps, so that no part of the file is overlooked."""
    places = np.arange(len(rows)) if among is None else np.flatnonzero(among)
    if len(places) == len(rows) < 2 * max(size, 1):
        return rows
    return rows.take(pa.array(places[:: max(1, len(places) // max(size, 1))]))
