"""Checks the feed by the ledger: refused batches, quarantined rows, and the time since the last batch."""

from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple

from sqlalchemy import Engine, text

from infra.database.schema.ledger_schema import COMMITTED, REFUSED
from models.monitoring.drift.feed_health import FeedCheck, within

_QUARANTINED: Final = 0.05
"""Rise of the quarantined share beyond which the feed has changed."""
_FEWEST: Final = 4
"""Batches that are needed to know how often they come."""
_LATE: Final = 3.0
"""A feed is late after this multiple of its longest pause."""
_SHORTEST: Final = 26.0
"""Hours: a daily feed may come two hours later than the day before."""
_BATCHES: Final = """
    SELECT source, location, status, detail, read, quarantined, started_at, finished_at, now() AS now
    FROM ingest_batches WHERE dataset = 'events' AND status <> 'pending' ORDER BY started_at
"""


class _Batch(NamedTuple):
    source: str
    location: str
    status: str
    detail: str | None
    read: int
    quarantined: int
    started_at: datetime
    finished_at: datetime
    now: datetime


def check_ledger(engine: Engine, since: datetime | None) -> list[FeedCheck]:
    """Compare the batches of events since the last report with earlier ones; without a report, the last batch."""
    with engine.connect() as connection:
        rows = [_Batch(**row) for row in connection.execute(text(_BATCHES)).mappings()]
    if not rows:
        return []
    committed = [row for row in rows if row.status == COMMITTED]
    new = [row for row in committed if since is None or row.started_at >= since] or committed[-1:]
    old = [row for row in committed if row not in new]
    checks = [_refused(rows), *([_quarantined(new, old)] if new and old else [])]
    return [*checks, *([_pause(committed)] if len(committed) >= _FEWEST else [])]


def _refused(rows: list[_Batch]) -> FeedCheck:
    """Check for sources whose newest batch was refused, because these bring no more events."""
    newest = {row.source: row for row in rows}
    refused = [row for row in newest.values() if row.status == REFUSED]
    detail = "; ".join(f"{row.source}: {row.detail or 'refused'}" for row in refused)
    return within("batches", len(refused), None, 0.0, detail or "no source's newest batch was refused")


def _quarantined(new: list[_Batch], old: list[_Batch]) -> FeedCheck:
    now, before = (sum(r.quarantined for r in rows) / max(1, sum(r.read for r in rows)) for rows in (new, old))
    detail = f"{now:.2%} of the rows are in quarantine, {before:.2%} before"
    return within("quarantine", now, None, before + _QUARANTINED, detail)


def _pause(committed: list[_Batch]) -> FeedCheck:
    ends = sorted(row.finished_at for row in committed)
    pauses = [(b - a).total_seconds() / 3_600 for a, b in pairwise(ends)]
    hours = (committed[-1].now - ends[-1]).total_seconds() / 3_600
    high = max(_SHORTEST, _LATE * max(pauses))
    return within("freshness", hours, None, high, f"no batch came for {hours:.1f} hours, at most {high:.1f} is usual")
