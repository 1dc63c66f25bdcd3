"""Decides for every row of a chunk what becomes of it: suppressed, routed, quarantined, duplicate or accepted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from expectations import events as promises
from expectations.rules import RowRule, flags
from models import columns
from models.sql import query

ROW = "row_number"
RULES = "rule_ids"
_CONFLICT = "id_conflict"


@dataclass(frozen=True)
class Sifted:
    """A chunk taken apart; every row is in exactly one place."""

    accepted: pa.Table
    quarantined: pa.Table
    """The rows with their number in the file and `rule_ids`."""
    counts: dict[str, int]


def fingerprint(events: pa.Table) -> pa.Table:
    """Add `payload_hash`: 128 bits of SHA-256 over everything the event says."""
    said = ", ".join(f"coalesce({name}::varchar, '')" for name in events.column_names if name != ROW)
    hashed = f"left(sha256(concat_ws(chr(31), {said})), 32)"
    return query(f"SELECT *, {hashed} AS {columns.PAYLOAD_HASH} FROM events", events=events)


def annotate(events: pa.Table, catalogue: pa.Array, now: float) -> pa.Table:
    """Add the helper columns that the rules look at; `now` in epoch seconds."""
    # Not safe: of a time in the year 9999, which stands for "never", some microseconds may get lost.
    micros = pc.cast(pc.cast(events[columns.OCCURRED_AT], pa.int64()), pa.float64(), safe=False)
    seconds = pc.divide(micros, 1e6)
    return (
        events.append_column(promises.IN_CATALOGUE, pc.is_in(events[columns.ITEM_ID], value_set=catalogue))
        .append_column(promises.OCCURRED_S, seconds)
        .append_column(promises.AHEAD_S, pc.subtract(seconds, now))
    )


def _named(broken: pa.Table) -> pa.Array:
    """For each row of flags the ids of the rules that it breaks."""
    names = ", ".join(f"CASE WHEN {rule} THEN '{rule}' END" for rule in broken.column_names)
    statement = f"SELECT list_filter([{names}], lambda id: id IS NOT NULL) AS {RULES} FROM broken"
    return query(statement, broken=broken)[RULES].combine_chunks()


def _split(rows: pa.Table, rules: Sequence[RowRule]) -> tuple[pa.Table, pa.Table]:
    """The rows that keep every rule, and the others with the ids of the rules they break."""
    broken = flags(rows, rules)
    unsound = reduce(pc.or_, broken.columns)
    return rows.filter(pc.invert(unsound)), rows.filter(unsound).append_column(RULES, _named(broken.filter(unsound)))


def _repeats(rows: pa.Table, known: pa.Table) -> tuple[pa.Array, pa.Array]:
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
    conflicting = found["conflicting"].combine_chunks()
    return pc.and_not(found["repeated"].combine_chunks(), conflicting), conflicting


def sift(rows: pa.Table, rules: Sequence[RowRule], suppressed: pa.Array, routed: pa.Array, known: pa.Table) -> Sifted:
    """Take a chunk of annotated, fingerprinted events apart.

    `suppressed` are user keys whose rows are dropped, `routed` items that nobody shops for, `known` the ids and
    hashes that are stored already. In that order a row is suppressed, routed, quarantined, a duplicate or accepted.
    """
    read = len(rows)
    kept = rows.filter(pc.invert(pc.is_in(rows[columns.USER_KEY], value_set=suppressed)))
    shopped = kept.filter(pc.invert(pc.is_in(kept[columns.ITEM_ID], value_set=routed)))
    candidates, quarantined = _split(shopped, rules)
    repeated, conflicting = _repeats(candidates, known)
    conflicts = candidates.filter(conflicting)
    reason = pa.array([[_CONFLICT]] * len(conflicts), pa.list_(pa.string()))
    accepted = candidates.filter(pc.invert(pc.or_(repeated, conflicting)))
    quarantined = pa.concat_tables([quarantined, conflicts.append_column(RULES, reason)])
    counts = {
        "read": read,
        "suppressed": read - len(kept),
        "routed": len(kept) - len(shopped),
        "quarantined": len(quarantined),
        "duplicate": int(pc.sum(repeated).as_py() or 0),
        "accepted": len(accepted),
    }
    return Sifted(accepted, quarantined, counts)


def rule_counts(quarantined: pa.Table) -> dict[str, int]:
    """How many rows each rule caught; a row may break several."""
    caught = pc.value_counts(pc.list_flatten(quarantined[RULES]))
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in caught}


def payloads(quarantined: pa.Table) -> list[dict[str, Any]]:
    """The quarantined rows as JSON values; they carry the pseudonym, never the raw id."""
    hidden = (ROW, RULES, promises.IN_CATALOGUE, promises.OCCURRED_S, promises.AHEAD_S)
    shown = quarantined.drop_columns([c for c in hidden if c in quarantined.column_names])
    for place, field in enumerate(shown.schema):
        if pa.types.is_timestamp(field.type):
            stamps = pc.strftime(shown[field.name], "%Y-%m-%dT%H:%M:%S%z")
            shown = shown.set_column(place, field.name, stamps)
    return [{name: _plain(value) for name, value in row.items()} for row in shown.to_pylist()]


def _plain(value: Any) -> Any:
    """A value that JSON can hold: it knows no infinity."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def sift_reference(rows: pa.Table, rules: Sequence[RowRule], suppressed: pa.Array, key: str) -> Sifted:
    """Take items or users apart: rows that break a rule, all but the last of one `key`, and the rest.

    The rest is `accepted` for the caller to store, and counted as routed: it updates the catalogue or the users.
    """
    numbered = rows.append_column(ROW, pa.array(range(len(rows))))
    dropped = pc.is_in(rows[key], value_set=suppressed)
    kept = numbered.filter(pc.invert(dropped))
    candidates, quarantined = _split(kept, rules)
    last = query(f"SELECT max({ROW}) AS row FROM candidates GROUP BY {key}", candidates=candidates)["row"]
    accepted = candidates.filter(pc.is_in(candidates[ROW], value_set=last.combine_chunks()))
    counts = {
        "read": len(rows),
        "suppressed": len(rows) - len(kept),
        "routed": len(accepted),
        "quarantined": len(quarantined),
        "duplicate": len(candidates) - len(accepted),
        "accepted": 0,
    }
    return Sifted(accepted.drop_columns([ROW]), quarantined, counts)
