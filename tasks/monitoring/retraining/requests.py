"""Stores retrain requests, and the leases on them. Only one request is open at a time, whatever its origin.

A worker renews its lease, and a fence shows if another worker took over.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from threading import Event, Thread
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, TextClause, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import SQLAlchemyError

from infra.database.schema.monitoring_schema import retrain_requests as requests
from models.errors import TailorbirdError
from tasks.review.outcomes import ReviewOutcome

Origin = Literal["drift", "schedule", "person", "erasure"]
REQUESTED, RUNNING, DONE, FAILED = "requested", "running", "done", "failed"
LOSING: Final = (ReviewOutcome.REFUSED, ReviewOutcome.CHAMPION_KEPT)
"""Outcomes after which another retraining soon would end the same way."""
_LISTED: Final = 10
LEASE: Final = 120.0
"""Seconds after which a worker that does not renew its lease loses the request."""
_RENEWALS: Final = 6
"""Renewals per lease: five in a row may fail before the lease expires."""


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
    return _to_request(connection.execute(statement).mappings().first())


def get_request(connection: Connection, request_id: int) -> Request:
    """Return a request by its id. Raises TailorbirdError if there is none."""
    query = select(*COLUMNS).where(requests.c.request_id == request_id)
    request = _to_request(connection.execute(query).mappings().first())
    if request is None:
        raise TailorbirdError(f"There is no retrain request {request_id}. Leave it out to make a new one.")
    return request


def open_request(connection: Connection) -> Request | None:
    """Return the request that waits or is being worked on."""
    query = select(*COLUMNS).where(requests.c.status.in_((REQUESTED, RUNNING)))
    return _to_request(connection.execute(query).mappings().first())


def count_since(connection: Connection, since: datetime) -> int:
    """Count the requests of drift since a moment, whatever their outcome."""
    query = (requests.c.origin == "drift", requests.c.requested_at >= since)
    return int(connection.execute(select(func.count()).select_from(requests).where(*query)).scalar_one())


def finished(connection: Connection) -> list[Request]:
    """Return the last finished requests, the newest first; `outcome` is one of the above, or an error."""
    query = select(*COLUMNS).where(requests.c.status.in_((DONE, FAILED)))
    rows = connection.execute(query.order_by(requests.c.request_id.desc()).limit(_LISTED)).mappings()
    return [Request(**row) for row in rows]


def abandoned_request(connection: Connection, seconds: float) -> Request | None:
    """Return the open request without a worker: it has waited for so many seconds, or its lease has expired."""
    late = (requests.c.status == REQUESTED) & (requests.c.requested_at < func.now() - span(seconds))
    return _to_request(connection.execute(select(*COLUMNS).where(late | _lease_expired())).mappings().first())


def give_up(connection: Connection, request: Request, outcome: str) -> bool:
    """Close an abandoned request as failed; return False if another run has claimed it since."""
    unchanged = (requests.c.request_id == request.request_id, requests.c.fence == request.fence)
    closed = {"status": FAILED, "outcome": outcome, "finished_at": func.now(), "leased_until": None}
    free = (requests.c.status == REQUESTED) | _lease_expired()
    return connection.execute(update(requests).where(*unchanged, free).values(closed)).rowcount == 1


def _lease_expired() -> ColumnElement[bool]:
    """Return the condition that the lease of a request has expired, by the database's clock."""
    return (requests.c.status == RUNNING) & (requests.c.leased_until < func.now())


def span(seconds: float) -> TextClause:
    """Return an SQL interval of so many seconds."""
    return text("make_interval(secs => :span)").bindparams(span=seconds)


def _to_request(row: RowMapping | None) -> Request | None:
    """Return a row of the table as a request."""
    return Request(**row) if row is not None else None


class SupersededError(TailorbirdError):
    """Another run has taken over the request, because this run did not renew its lease."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a request until another run claims it."""

    engine: Engine
    request: Request
    lease: float

    def ensure_held(self) -> None:
        """Raise SupersededError if another run has claimed or closed the request."""
        with self.engine.connect() as connection:
            if connection.execute(select(1).select_from(requests).where(_held(self))).scalar() is None:
                raise _superseded(self)


def claim(engine: Engine, request_id: int, flow_run: str | None, lease: float = LEASE) -> Claim | None:
    """Claim a request; return None if another run works on it or has finished it. An expired lease may be taken."""
    free = (requests.c.status == REQUESTED) | _lease_expired()
    columns = {
        "status": RUNNING,
        "fence": requests.c.fence + 1,
        "flow_run": flow_run,
        "leased_until": func.now() + span(lease),
        "started_at": func.coalesce(requests.c.started_at, func.now()),
    }
    statement = update(requests).where(requests.c.request_id == request_id, free).values(columns).returning(*COLUMNS)
    with engine.begin() as connection:
        request = _to_request(connection.execute(statement).mappings().first())
    return Claim(engine, request, lease) if request else None


@contextmanager
def renew_lease(claim: Claim) -> Iterator[Claim]:
    """Renew the lease from a thread for the length of the block."""
    over = Event()
    thread = Thread(target=_renew, args=(claim, over), name="retrain-lease", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        over.set()
        thread.join()


def note_step(claim: Claim, step: str, link: str) -> None:
    """Store the address of a step's page. Raises SupersededError if another run has taken over."""
    entry = func.jsonb_build_object(step, link, type_=JSONB)
    if not _change(claim, steps=requests.c.steps.concat(entry)):
        raise _superseded(claim)


def finish(claim: Claim, status: str, outcome: str) -> bool:
    """Close a request; return False and write nothing if another run has taken over."""
    return _change(claim, status=status, outcome=outcome, finished_at=func.now(), leased_until=None)


def _renew(claim: Claim, over: Event) -> None:
    while not over.wait(claim.lease / _RENEWALS):
        with suppress(SQLAlchemyError):  # the database may be back at the next renewal
            if not _change(claim, leased_until=func.now() + span(claim.lease)):
                return


def _change(claim: Claim, **values: Any) -> bool:
    with claim.engine.begin() as connection:
        return connection.execute(update(requests).where(_held(claim)).values(values)).rowcount == 1


def _held(claim: Claim) -> ColumnElement[bool]:
    own = (requests.c.request_id == claim.request.request_id) & (requests.c.fence == claim.request.fence)
    return own & (requests.c.status == RUNNING)


def _superseded(claim: Claim) -> SupersededError:
    return SupersededError(
        f"Retrain request {claim.request.request_id} was superseded: this run did not renew its lease for "
        f"{claim.lease:g} s, and another one works on it. Nothing has to be done: see that run."
    )
