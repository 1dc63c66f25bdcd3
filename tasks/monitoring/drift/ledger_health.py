"""What the ledger says of the feed: batches that were refused, rows in quarantine, and how long nothing has come."""

from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Engine, text

from infra.database.schema.ledger_schema import COMMITTED, REFUSED
from models.monitoring.drift.feed_health import FeedCheck, within

_QUARANTINED: Final = 0.05
"""So much larger a share in quarantine than before is a feed that changed."""
_FEWEST: Final = 4
"""Batches after which it is known how often they come."""
_LATE: Final = 3.0
"""Times as long as the longest pause so far."""
_SHORTEST: Final = 26.0
"""Hours: a daily feed may come two hours later than the day before."""
_BATCHES: Final = """
    SELECT source, location, status, detail, read, quarantined, started_at, finished_at, now() AS now
    FROM ingest_batches WHERE dataset = 'events' AND status <> 'pending' ORDER BY started_at
"""


def check_ledger(engine: Engine, since: datetime | None) -> list[FeedCheck]:
    """Hold the batches of events since a moment (of the last report; None: the last one) against those before."""
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(text(_BATCHES)).mappings()]
    if not rows:
        return []
    committed = [row for row in rows if row["status"] == COMMITTED]
    new = [row for row in committed if since is None or row["started_at"] >= since] or committed[-1:]
    old = [row for row in committed if row not in new]
    checks = [_refused(rows), *([_quarantined(new, old)] if new and old else [])]
    return [*checks, *([_pause(committed)] if len(committed) >= _FEWEST else [])]


def _refused(rows: list[dict[str, Any]]) -> FeedCheck:
    """A source whose newest file was refused brings nothing any more."""
    newest = {row["source"]: row for row in rows}
    refused = [row for row in newest.values() if row["status"] == REFUSED]
    detail = "; ".join(f"{row['source']}: {row['detail'] or 'refused'}" for row in refused)
    return within("batches", len(refused), None, 0.0, detail or "no source's newest batch was refused")


def _quarantined(new: list[dict[str, Any]], old: list[dict[str, Any]]) -> FeedCheck:
    now, before = (sum(r["quarantined"] for r in rows) / max(1, sum(r["read"] for r in rows)) for rows in (new, old))
    detail = f"{now:.2%} of the rows are in quarantine, {before:.2%} before"
    return within("quarantine", now, None, before + _QUARANTINED, detail)


def _pause(committed: list[dict[str, Any]]) -> FeedCheck:
    ends = sorted(row["finished_at"] for row in committed)
    pauses = [(b - a).total_seconds() / 3_600 for a, b in pairwise(ends)]
    hours = (committed[-1]["now"] - ends[-1]).total_seconds() / 3_600
    high = max(_SHORTEST, _LATE * max(pauses))
    return within(
        "freshness", hours, None, high, f"nothing has come for {hours:.1f} hours, at most {high:.1f} is usual"
    )
