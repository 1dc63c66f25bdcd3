"""Classifies every row of a chunk as suppressed, routed, quarantined, duplicate or accepted, and counts them.

The figures of its chunks are the profile of a batch, which its suite compares with limits.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations.batches import AHEAD_S, IN_CATALOGUE, OCCURRED_S
from expectations.rules import RowRule, flags
from models import columns
from models.columns import ROW
from models.datasets.labels import IMPRESSION
from models.ingest.check.advice import CONFLICT as CONFLICT
from models.ingest.check.advice import UNREADABLE as UNREADABLE
from models.ingest.source_config import MARKS
from models.ingest.tabular.unreadable_cells import CELLS, KEYS
from models.primitives.arrow_sql import query
from tasks.ingest.validation.event_identity import EARLIER_HASH, ID_HASH, KnownIds
from tasks.ingest.validation.event_identity import USER_CODE as USER_CODE
from tasks.quality.chunk_profile import ChunkProfile, Counts
from tasks.sources.table_files import RowNumbering

RULES: Final = "rule_ids"
REASON: Final = "reason"
"""The fault of an unreadable row."""
SUGGESTIONS: Final = "suggestions"
"""The settings that would read the unreadable cells of a row."""
SAMPLE_ROWS: Final = 20_000
"""About how many rows of a batch its suite validates."""
HELPERS: Final = (
    *(ROW, ID_HASH, USER_CODE, EARLIER_HASH, IN_CATALOGUE, OCCURRED_S, AHEAD_S),
    *(KEYS, CELLS),
)
"""Columns that rules need and that are not stored."""
TRAFFIC: Final = ("robot", "internal_traffic")
"""Rules on the kind of visitor: the rows that break them are not faulty."""
_PRIVATE: Final = (columns.TITLE, columns.CATEGORY, columns.BRAND, columns.ATTRIBUTES)
"""Texts and traits that quarantine does not store: columns may be shifted, and only events are replayed."""

_DESCRIBED: Final = f"""
    CASE WHEN len({CELLS}) > 0 THEN ',"{CELLS}":' || to_json(list_transform({CELLS},
        lambda cell: {{'key': cell.key, 'column': cell."column", 'value': cell.value}}))::varchar || ',"{SUGGESTIONS}":'
        || to_json(list_filter(list_transform({CELLS}, lambda cell: cell.suggestion),
            lambda suggestion: suggestion IS NOT NULL))::varchar
    ELSE '' END"""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TriagedRows:
    """The rows of a chunk; each is in exactly one table."""

    accepted: pa.Table
    quarantined: pa.Table
    """The rows with their number in the file and `rule_ids`."""
    counts: dict[str, int]


@dataclass(frozen=True)
class TriagedEvents(TriagedRows):
    """The events of a chunk."""

    repeated: pa.Table
    """The duplicates of events earlier in this chunk or in the lake."""


def annotate(events: pa.Table, catalogue: pa.Array | None, now: float) -> pa.Table:
    """Add the columns that rules need; `now` in epoch seconds. Without a `catalogue` every item is known."""
    # Not safe: a time in the year 9999, which stands for "never", may lose some microseconds.
    micros = pc.cast(pc.cast(events[columns.OCCURRED_AT], pa.int64()), pa.float64(), safe=False)
    seconds = pc.divide(micros, 1e6)
    items = events[columns.ITEM_ID]
    known = pa.repeat(True, len(events))
    if catalogue is not None:
        known = pc.or_(pc.is_in(items, value_set=catalogue), pc.fill_null(pc.equal(items, columns.WHOLE_ORDER), False))
    return (
        events.append_column(IN_CATALOGUE, known)
        .append_column(OCCURRED_S, seconds)
        .append_column(AHEAD_S, pc.subtract(seconds, now))
    )


def _rule_ids(violations: pa.Table) -> pa.Array:
    """Return for each row of flags the ids of the rules that it breaks."""
    names = ", ".join(f"CASE WHEN {rule} THEN '{rule}' END" for rule in violations.column_names)
    statement = f"SELECT list_filter([{names}], lambda id: id IS NOT NULL) AS {RULES} FROM violations"
    return query(statement, violations=violations)[RULES].combine_chunks()


def breaks_rule(violations: pa.Table) -> Mask:
    """Return which rows break a rule, by their flags."""
    mask: Mask = reduce(pc.or_, violations.columns).to_numpy(zero_copy_only=False)
    return mask


def quarantined_rows(rows: pa.Table, violations: pa.Table, bad: Mask) -> pa.Table:
    """Return the `bad` rows with the ids of the rules that they break."""
    chosen = pa.array(bad)
    return rows.filter(chosen).append_column(RULES, _rule_ids(violations.filter(chosen)))


def _possible_duplicates(hashes: NDArray[np.uint64], known: KnownIds) -> tuple[Mask, Mask]:
    """Return which ids may be in the lake, and which occur twice among these; all others are certainly new."""
    different, places, times = np.unique(hashes, return_inverse=True, return_counts=True)
    return known.may_contain(different)[places], times[places] > 1


def _repeats(rows: pa.Table, known: pa.Table) -> tuple[Mask, Mask]:
    """Return which rows repeat an earlier event, and which use its id for another event."""
    statement = f"""
        WITH first AS (
            SELECT event_id, arg_min(payload_hash, {ROW}) AS hash, min({ROW}) AS row FROM rows GROUP BY 1
        ), stored AS (SELECT event_id, any_value(payload_hash) AS hash FROM known GROUP BY 1)
        SELECT stored.hash IS NOT NULL OR rows.{ROW} > first.row AS repeated,
            coalesce(stored.hash, first.hash) NOT IN (rows.payload_hash, coalesce({EARLIER_HASH}, rows.payload_hash))
                AS conflicting
        FROM rows JOIN first USING (event_id) LEFT JOIN stored USING (event_id) ORDER BY rows.{ROW}
    """
    result = query(
        statement, rows=rows.select([columns.EVENT_ID, columns.PAYLOAD_HASH, EARLIER_HASH, ROW]), known=known
    )
    conflicting = result["conflicting"].to_numpy()
    return result["repeated"].to_numpy() & ~conflicting, conflicting


def triage_events(
    rows: pa.Table, rules: Sequence[RowRule], suppressed: Mask, routed: Mask, known: KnownIds
) -> TriagedEvents:
    """Classify a chunk of annotated events with fingerprints.

    `suppressed` rows are dropped, and `routed` rows are no shopping. In that order a row is suppressed, routed,
    quarantined, a duplicate or accepted.
    """
    violations = flags(rows, rules)
    eligible = ~(suppressed | routed)
    bad = breaks_rule(violations) & eligible
    candidates = np.flatnonzero(eligible & ~bad)
    stored, twice = _possible_duplicates(rows[ID_HASH].to_numpy()[candidates], known)
    doubtful = candidates[stored | twice]
    quarantined = quarantined_rows(rows, violations, bad)
    accepted = eligible & ~bad
    duplicates = rows.slice(0, 0)
    if len(doubtful):
        possible = rows.take(pa.array(doubtful)).sort_by(ROW)
        # Only ids that may be in the lake are searched there: other repeated ids would cost a scan of all months.
        repeated, conflicting = _repeats(possible, known.matching(rows.take(pa.array(candidates[stored]))))
        accepted[doubtful[repeated | conflicting]] = False
        conflicts = possible.filter(pa.array(conflicting))
        reason = pa.array([[CONFLICT]] * len(conflicts), pa.list_(pa.string()))
        quarantined = pa.concat_tables([quarantined, conflicts.append_column(RULES, reason)])
        duplicates = possible.filter(pa.array(repeated))
    good = rows.filter(pa.array(accepted))
    return TriagedEvents(good, quarantined, counted(suppressed, routed, good, quarantined, duplicates), duplicates)


def counted(
    suppressed: Mask, routed: Mask, accepted: pa.Table, quarantined: pa.Table, repeated: pa.Table
) -> dict[str, int]:
    """Return the counts of the ledger, each counted on its own, so that their sum shows lost rows."""
    return {
        "read": len(suppressed),
        "suppressed": int(suppressed.sum()),
        "routed": int((routed & ~suppressed).sum()),
        "quarantined": len(quarantined),
        "duplicate": len(repeated),
        "accepted": len(accepted),
    }


def rule_counts(quarantined: pa.Table) -> dict[str, int]:
    """Return how many rows break each rule; a row may break several."""
    return _counted(pc.list_flatten(quarantined[RULES]))


def _counted(values: pa.ChunkedArray) -> Counts:
    return {entry["values"]: entry["counts"] for entry in values.value_counts().to_pylist()}


def payloads(quarantined: pa.Table) -> pa.Table:
    """Return the quarantined rows as JSON: `row_number`, `rule_ids` (as PostgreSQL writes a list) and `payload`.

    They have the pseudonym instead of the raw id, and none of `_PRIVATE`. Infinity becomes a text, because JSON lacks
    it. A mark is present only if it is true.
    """
    omitted = {*HELPERS, *MARKS, *_PRIVATE, RULES, columns.MONTH}
    shown = [field for field in quarantined.schema if field.name not in omitted]
    values = ", ".join(f'"{field.name}" := {_json(field)}' for field in shown)
    marks = [name for name in MARKS if name in quarantined.column_names]
    added = " || ".join([*(f"""CASE WHEN {name} THEN ',"{name}":true' ELSE '' END""" for name in marks), "''"])
    if CELLS in quarantined.column_names:
        added += f" || {_DESCRIBED}"
    return query(
        f"""
        SELECT {ROW}, '{{' || array_to_string({RULES}, ',') || '}}' AS {RULES},
            (to_json(struct_pack({values}))::varchar)[:-2] || {added} || '}}' AS payload
        FROM rows
        """,
        rows=quarantined,
    )


def with_row_numbers(quarantined: pa.Table, numbering: RowNumbering) -> pa.Table:
    """Return the rows with the number of their line or row in the file."""
    if not len(quarantined):
        return quarantined
    numbers = numbering.numbers(quarantined[ROW].to_numpy())
    return quarantined.append_column(numbering.unit, pa.array(numbers, pa.int64()))


def _json(field: pa.Field) -> str:
    if pa.types.is_timestamp(field.type):
        return f"strftime(\"{field.name}\", '%Y-%m-%dT%H:%M:%S.%f+0000')"
    if pa.types.is_floating(field.type):
        value = f'"{field.name}"'
        return f"CASE WHEN isfinite({value}) THEN to_json({value}) ELSE to_json({value}::varchar) END"
    return f'"{field.name}"'


def systematic_sample(rows: pa.Table, size: int, mask: Mask | None = None) -> pa.Table:
    """Return a sample of rows, or of those in `mask`, at even steps, so that it covers the whole file."""
    places = np.arange(len(rows)) if mask is None else np.flatnonzero(mask)
    if len(places) == len(rows) < 2 * max(size, 1):
        return rows
    return rows.take(pa.array(places[:: max(1, len(places) // max(size, 1))]))


def of_events(events: pa.Table) -> ChunkProfile:
    """Return the number of events in a chunk, and of empty values by column."""
    nulls = {name: events[name].null_count for name in events.column_names if name not in HELPERS}
    return {"events": len(events), "nulls": {name: count for name, count in nulls.items() if count}}


def of_quarantined(*tables: pa.Table) -> ChunkProfile:
    """Return quarantined rows by rule, and lines by the reason why they are unreadable; `faulty` leaves out traffic."""
    rules = total(map(rule_counts, tables))
    faulty = sum(map(len, tables))
    if any(rule in rules for rule in TRAFFIC):
        faulty = sum(not set(ids) <= set(TRAFFIC) for rows in tables for ids in rows[RULES].to_pylist())
    profile = ChunkProfile(rules=rules, faulty=faulty)
    if reasons := total(_counted(rows[REASON]) for rows in tables if REASON in rows.column_names):
        profile["reasons"] = reasons
    return profile


def rows_by_rule(profiles: Sequence[ChunkProfile]) -> Counts:
    """Return how many rows of a batch break each rule; unreadable lines are counted by their fault."""
    rules = total(profile.get("rules", {}) for profile in profiles)
    reasons = total(profile.get("reasons", {}) for profile in profiles)
    if reasons:
        rules.pop(UNREADABLE, None)
    return rules | {f"{UNREADABLE}: {reason}": count for reason, count in reasons.items()}


def time_span(rows: pa.Table) -> ChunkProfile:
    """Return when the first and the last of these events occurred."""
    span = pc.min_max(rows[columns.OCCURRED_AT]).as_py()
    first, last = span["min"], span["max"]
    return {"min": first.isoformat() if first else None, "max": last.isoformat() if last else None}


def impressions(rows: pa.Table) -> int:
    """Return how many of these events are impressions."""
    return int(pc.sum(pc.equal(rows[columns.EVENT_TYPE], IMPRESSION)).as_py() or 0)


def total(counts: Iterable[Mapping[str, int]]) -> Counts:
    """Return the sums of several counts, by name."""
    sums = Counter[str]()
    for part in counts:
        sums.update(part)
    return dict(sums)


def figures(profiles: Sequence[ChunkProfile], now: datetime) -> dict[str, float | None]:
    """Return the profile of a whole batch as figures by name; None for a figure without data."""
    whole = ({name: value for name, value in one.items() if isinstance(value, int)} for one in profiles)
    counts = Counter(total(whole))
    read, events = counts["read"], max(counts["events"], 1)
    rows = max(read, 1)
    checked = max(rows - counts["suppressed"] - counts["routed"], 1)
    shares: dict[str, float | None] = {"rows": read, "quarantined_share": counts["faulty"] / rows}
    shares |= {f"{name}_share": counts[name] / rows for name in ("duplicate", "suppressed", "late")}
    shares |= {rule: count / checked for rule, count in total(one.get("rules", {}) for one in profiles).items()}
    nulls = total(profile.get("nulls", {}) for profile in profiles)
    shares |= {f"null_{name}": count / events for name, count in nulls.items()}
    cleaned = total(profile.get("cleaned", {}) for profile in profiles)
    return shares | cleaned | _times(profiles, now)


def _times(profiles: Sequence[ChunkProfile], now: datetime) -> dict[str, float | None]:
    first = [datetime.fromisoformat(moment) for profile in profiles if (moment := profile.get("min"))]
    last = [datetime.fromisoformat(moment) for profile in profiles if (moment := profile.get("max"))]
    if not first or not last:
        return {"days": None, "hours_old": None}
    span, age = max(last) - min(first), now - max(last)
    return {"days": span.total_seconds() / 86_400, "hours_old": age.total_seconds() / 3_600}
