"""Computes a batch's profile: the figures of its chunks that its suite compares with limits."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.datasets.labels import IMPRESSION
from tasks.ingest.validation import row_triage
from tasks.quality.chunk_profile import ChunkProfile, Counts

TRAFFIC: Final = ("robot", "internal_traffic")
"""Rules on the kind of visitor: the rows that break them are not faulty."""
_Count = Literal["read", "duplicate", "suppressed", "routed", "faulty", "late", "events"]
_COUNTS: Final[tuple[_Count, ...]] = ("read", "duplicate", "suppressed", "routed", "faulty", "late", "events")
_Figures = dict[str, float | None]


def of_events(events: pa.Table) -> ChunkProfile:
    """Return the number of events in a chunk, and of empty values by column."""
    nulls = {name: events[name].null_count for name in events.column_names if name not in row_triage.HELPERS}
    return {"events": len(events), "nulls": {name: count for name, count in nulls.items() if count}}


def of_quarantined(*tables: pa.Table) -> ChunkProfile:
    """Return quarantined rows by rule, and lines by the reason why they are unreadable; `faulty` leaves out traffic."""
    rules = total(map(row_triage.rule_counts, tables))
    faulty = sum(map(len, tables))
    if any(rule in rules for rule in TRAFFIC):
        faulty = sum(not set(ids) <= set(TRAFFIC) for rows in tables for ids in rows[row_triage.RULES].to_pylist())
    profile = ChunkProfile(rules=rules, faulty=faulty)
    if reasons := total(map(_reasons, tables)):
        profile["reasons"] = reasons
    return profile


def _reasons(rows: pa.Table) -> Counts:
    if row_triage.REASON not in rows.column_names:
        return {}
    counts = rows[row_triage.REASON].value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counts}


def rows_by_rule(profiles: Sequence[ChunkProfile]) -> Counts:
    """Return how many rows of a batch break each rule; unreadable lines are counted by their fault."""
    rules = total(profile.get("rules", {}) for profile in profiles)
    reasons = total(profile.get("reasons", {}) for profile in profiles)
    if reasons:
        rules.pop(row_triage.UNREADABLE, None)
    return rules | {f"{row_triage.UNREADABLE}: {reason}": count for reason, count in reasons.items()}


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
    sums: Counts = {}
    for part in counts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    return sums


def figures(profiles: Sequence[ChunkProfile], now: datetime) -> _Figures:
    """Return the profile of a whole batch as figures by name; None for a figure without data."""
    counts: Counts = {name: _sum(profiles, name) for name in _COUNTS}
    read, events = counts["read"], max(counts["events"], 1)
    rows = max(read, 1)
    checked = max(rows - counts["suppressed"] - counts["routed"], 1)
    shares: _Figures = {"rows": read, "quarantined_share": counts["faulty"] / rows}
    shares |= {f"{name}_share": counts[name] / rows for name in ("duplicate", "suppressed", "late")}
    shares |= {rule: count / checked for rule, count in total(one.get("rules", {}) for one in profiles).items()}
    nulls = total(profile.get("nulls", {}) for profile in profiles)
    shares |= {f"null_{name}": count / events for name, count in nulls.items()}
    cleaned = total(profile.get("cleaned", {}) for profile in profiles)
    return shares | cleaned | _times(profiles, now)


def _sum(profiles: Sequence[ChunkProfile], name: _Count) -> int:
    return sum(profile.get(name, 0) for profile in profiles)


def _times(profiles: Sequence[ChunkProfile], now: datetime) -> _Figures:
    first = [datetime.fromisoformat(moment) for profile in profiles if (moment := profile.get("min"))]
    last = [datetime.fromisoformat(moment) for profile in profiles if (moment := profile.get("max"))]
    if not first or not last:
        return {"days": None, "hours_old": None}
    span, age = max(last) - min(first), now - max(last)
    return {"days": span.total_seconds() / 86_400, "hours_old": age.total_seconds() / 3_600}
