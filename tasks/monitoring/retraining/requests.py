"""Stores retrain requests. Only one request is open at a time, whatever its origin."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, TextClause, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.monitoring_schema import retrain_requests as requests
from models.errors import TailorbirdError
from tasks.review.outcomes import ReviewOutcome

Origin = Literal["drift", "schedule", "person"]
REQUESTED, RUNNING, DONE, FAILED = "requested", "running", "done", "failed"
LOSING: Final = (ReviewOutcome.REFUSED, ReviewOutcome.CHAMPION_KEPT)
"""Outcomes after which another retraining soon would end the same way."""
_OPEN: Final = (REQUESTED, RUNNING)


@dataclass(frozen=True)
class Request:
    """A row of `retrain_requests`. `fence` counts the claims; `steps` has the address of a page by step."""

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
"""Columns of the table in the order of the fields of `Request`."""


def request_retraining(
    connection: Connection, origin: Origin, reason: str, report_id: int | None = None
) -> Request | None:
    """Make a retrain request, or return None if one is open already (see `open_request`).

    Emit the event that starts it after the commit. The reconciler finds a request whose event is lost.
    """
    row = {"origin": origin, "reason": reason, "report_id": report_id, "status": REQUESTED}
    statement = insert(requests).values(row).on_conflict_do_nothing().returning(*COLUMNS)
    return to_request(connection.execute(statement).mappings().first())


def get_request(connection: Connection, request_id: int) -> Request:
    """Return a request by its id. Raises TailorbirdError if there is none."""
    query = select(*COLUMNS).where(requests.c.request_id == request_id)
    request = to_request(connection.execute(query).mappings().first())
    if request is None:
        raise TailorbirdError(f"There is no retrain request {request_id}. Leave it out to make a new one.")
    return request


def open_request(connection: Connection) -> Request | None:
    """Return the request that waits or is being worked on."""
    query = select(*COLUMNS).where(requests.c.status.in_(_OPEN))
    return to_request(connection.execute(query).mappings().first())


def newest(connection: Connection, origin: Origin | None = None) -> Request | None:
    """Return the newest request, of one origin or of any."""
    query = select(*COLUMNS).order_by(requests.c.request_id.desc()).limit(1)
    if origin is not None:
        query = query.where(requests.c.origin == origin)
    return to_request(connection.execute(query).mappings().first())


def count_since(connection: Connection, since: datetime, origin: Origin = "drift") -> int:
    """Count the requests of an origin since a moment, whatever their outcome."""
    query = (requests.c.origin == origin, requests.c.requested_at >= since)
    return int(connection.execute(select(func.count()).select_from(requests).where(*query)).scalar_one())


def finished(connection: Connection, limit: int = 10, origin: Origin | None = None) -> list[Request]:
    """Return the last finished requests, the newest first; `outcome` is one of the above, or an error."""
    query = select(*COLUMNS).where(requests.c.status.in_((DONE, FAILED)))
    if origin is not None:
        query = query.where(requests.c.origin == origin)
    rows = connection.execute(query.order_by(requests.c.request_id.desc()).limit(limit)).mappings()
    return [Request(**row) for row in rows]


def abandoned_request(connection: Connection, seconds: float) -> Request | None:
    """Return the open request without a worker: it has waited for so many seconds, or its lease has expired."""
    late = (requests.c.status == REQUESTED) & (requests.c.requested_at < func.now() - span(seconds))
    return to_request(connection.execute(select(*COLUMNS).where(late | lease_expired())).mappings().first())


def give_up(connection: Connection, request: Request, outcome: str) -> bool:
    """Close an abandoned request as failed; return False if another run has claimed it since."""
    unchanged = (requests.c.request_id == request.request_id, requests.c.fence == request.fence)
    closed = {"status": FAILED, "outcome": outcome, "finished_at": func.now(), "leased_until": None}
    free = (requests.c.status == REQUESTED) | lease_expired()
    return connection.execute(update(requests).where(*unchanged, free).values(closed)).rowcount == 1


def lease_expired() -> ColumnElement[bool]:
    """Return the condition that the lease of a request has expired, by the database's clock."""
    return (requests.c.status == RUNNING) & (requests.c.leased_until < func.now())


def span(seconds: float) -> TextClause:
    """Return an SQL interval of so many seconds."""
    return text("make_interval(secs => :span)").bindparams(span=seconds)


def to_request(row: RowMapping | None) -> Request | None:
    """Return a row of the table as a request."""
    return Request(**row) if row is not None else None
