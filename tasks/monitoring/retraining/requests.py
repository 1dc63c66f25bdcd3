"""Retraining that was asked for: one request is open at a time, whoever asks."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import retrain_requests as requests
from models.errors import TailorbirdError
from tasks.review.outcomes import ReviewOutcome

Origin = Literal["drift", "schedule", "person"]
REQUESTED, RUNNING, DONE, FAILED = "requested", "running", "done", "failed"
LOSING: Final = (ReviewOutcome.REFUSED, ReviewOutcome.CHAMPION_KEPT)
"""Outcomes after which asking again soon would find the same."""
_OPEN: Final = (REQUESTED, RUNNING)


@dataclass(frozen=True)
class Request:
    """A request as it stands. `fence` counts how often it was claimed; `steps` are addresses of pages by step."""

    request_id: int
    origin: str
    reason: str
    report_id: int | None
    status: str
    fence: int
    flow_run: str | None
    requested_at: datetime
    started_at: datetime | None
    leased_until: datetime | None
    finished_at: datetime | None
    outcome: str | None
    steps: dict[str, str]


COLUMNS: Final = tuple(requests.c[field.name] for field in fields(Request))
"""Of the table, as a request has them."""


def request_retraining(
    connection: Connection, origin: Origin, reason: str, report_id: int | None = None
) -> Request | None:
    """Ask for a retraining; None when one is asked for or under way already: see `open_request`.

    Emit the event that starts it after the commit; a request whose event was lost is found by the reconciler.
    """
    row = {"origin": origin, "reason": reason, "report_id": report_id, "status": REQUESTED}
    statement = insert(requests).values(row).on_conflict_do_nothing().returning(*COLUMNS)
    return to_request(connection.execute(statement).mappings().first())


def get_request(connection: Connection, request_id: int) -> Request:
    """One request; says so when there is none."""
    query = select(*COLUMNS).where(requests.c.request_id == request_id)
    request = to_request(connection.execute(query).mappings().first())
    if request is None:
        raise TailorbirdError(f"There is no retrain request {request_id}. Leave it out, and a new one is made.")
    return request


def open_request(connection: Connection) -> Request | None:
    """The one that is asked for or under way."""
    query = select(*COLUMNS).where(requests.c.status.in_(_OPEN))
    return to_request(connection.execute(query).mappings().first())


def newest(connection: Connection, origin: Origin | None = None) -> Request | None:
    """The last one that was asked for, of one origin or of any."""
    query = select(*COLUMNS).order_by(requests.c.request_id.desc()).limit(1)
    if origin is not None:
        query = query.where(requests.c.origin == origin)
    return to_request(connection.execute(query).mappings().first())


def count_since(connection: Connection, since: datetime, origin: Origin = "drift") -> int:
    """How many of an origin were asked for since a moment, however they ended."""
    query = (requests.c.origin == origin, requests.c.requested_at >= since)
    return int(connection.execute(select(func.count()).select_from(requests).where(*query)).scalar_one())


def finished(connection: Connection, limit: int = 10, origin: Origin | None = None) -> list[Request]:
    """The last requests that are over, the newest first; `outcome` is one of the above, or says what went wrong."""
    query = select(*COLUMNS).where(requests.c.status.in_((DONE, FAILED)))
    if origin is not None:
        query = query.where(requests.c.origin == origin)
    rows = connection.execute(query.order_by(requests.c.request_id.desc()).limit(limit)).mappings()
    return [Request(**row) for row in rows]


def abandoned_request(connection: Connection, seconds: float) -> Request | None:
    """The open request that nobody works on, though it was asked for so many seconds ago or its worker fell silent."""
    late = (requests.c.status == REQUESTED) & (requests.c.requested_at < func.now() - span(seconds))
    return to_request(connection.execute(select(*COLUMNS).where(late | lease_expired())).mappings().first())


def give_up(connection: Connection, request: Request, outcome: str) -> bool:
    """Close a request that nobody works on as failed; False when somebody has claimed it just now."""
    unchanged = (requests.c.request_id == request.request_id, requests.c.fence == request.fence)
    closed = {"status": FAILED, "outcome": outcome, "finished_at": func.now(), "leased_until": None}
    free = (requests.c.status == REQUESTED) | lease_expired()
    return connection.execute(update(requests).where(*unchanged, free).values(closed)).rowcount == 1


def lease_expired() -> Any:
    """Whether the lease of a request is over, by the database's clock."""
    return (requests.c.status == RUNNING) & (requests.c.leased_until < func.now())


def span(seconds: float) -> Any:
    """An interval of so many seconds."""
    return text("make_interval(secs => :span)").bindparams(span=seconds)


def to_request(row: Any) -> Request | None:
    """A row of the table as a request."""
    return Request(**row) if row is not None else None
