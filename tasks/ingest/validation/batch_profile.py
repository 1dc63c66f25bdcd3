"""A batch's profile: what its chunks came to, as the figures that its suite holds against limits."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from tasks.ingest.validation import row_triage

TRAFFIC: Final = ("robot", "internal_traffic")
"""Rules that say who came, not that the data are bad."""

Profile = dict[str, Any]


def of_events(events: pa.Table) -> Profile:
    """What the events of a chunk say about themselves: how many there are, and where they say nothing."""
    nulls = {name: events[name].null_count for name in events.column_names if name not in row_triage.HELPERS}
    return {"events": len(events), "nulls": {name: count for name, count in nulls.items() if count}}


def of_quarantined(*tables: pa.Table) -> Profile:
    """Which rules caught how many rows and why lines are unreadable; `faulty` are all but merely unwanted traffic."""
    rules = total(map(row_triage.rule_counts, tables))
    reasons = [
        rows[row_triage.REASON].value_counts().to_pylist() for rows in tables if row_triage.REASON in rows.column_names
    ]
    faulty = sum(map(len, tables))
    if any(rule in rules for rule in TRAFFIC):
        faulty = sum(not set(ids) <= set(TRAFFIC) for rows in tables for ids in rows[row_triage.RULES].to_pylist())
    why = total({found["values"]: found["counts"]} for counts in reasons for found in counts)
    return {"rules": rules, "faulty": faulty} | ({"reasons": why} if why else {})


def broken(profiles: Sequence[Profile]) -> dict[str, int]:
    """How many rows of a batch broke each rule; unreadable lines by what is wrong with them."""
    rules = total(profile.get("rules", {}) for profile in profiles)
    reasons = total(profile.get("reasons", {}) for profile in profiles)
    if reasons:
        rules.pop(row_triage.UNREADABLE, None)
    return rules | {f"{row_triage.UNREADABLE}: {reason}": count for reason, count in reasons.items()}


def time_span(rows: pa.Table) -> dict[str, str | None]:
    """When the first and the last of these events occurred."""
    span = pc.min_max(rows[columns.OCCURRED_AT]).as_py()
    return {name: moment.isoformat() if moment else None for name, moment in span.items()}


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sums of several counts, by name."""
    sums: dict[str, int] = {}
    for part in counts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + value
    return sums


def figures(profiles: Sequence[Profile], now: datetime) -> dict[str, float | None]:
    """The profile of a whole batch as one row of numbers; None where there is nothing to tell."""
    plain = ("read", "duplicate", "suppressed", "routed", "faulty", "late", "events")
    sums = total({name: profile.get(name, 0) for name in plain} for profile in profiles)
    rows = max(sums.get("read", 0), 1)
    checked = max(rows - sums.get("suppressed", 0) - sums.get("routed", 0), 1)
    found: dict[str, float | None] = {"rows": sums.get("read", 0), "quarantined_share": sums.get("faulty", 0) / rows}
    found |= {f"{name}_share": sums.get(name, 0) / rows for name in ("duplicate", "suppressed", "late")}
    found |= {rule: count / checked for rule, count in total(p.get("rules", {}) for p in profiles).items()}
    nulls = total(profile.get("nulls", {}) for profile in profiles)
    found |= {f"null_{name}": count / max(sums.get("events", 0), 1) for name, count in nulls.items()}
    cleaned = total(profile.get("cleaned", {}) for profile in profiles)
    return found | cleaned | _times(profiles, now)


def _times(profiles: Sequence[Profile], now: datetime) -> dict[str, float | None]:
    first, last = ([datetime.fromisoformat(p[end]) for p in profiles if p.get(end)] for end in ("min", "max"))
    if not first or not last:
        return {"days": None, "hours_old": None}
    span, age = max(last) - min(first), now - max(last)
    return {"days": span.total_seconds() / 86_400, "hours_old": age.total_seconds() / 3_600}
