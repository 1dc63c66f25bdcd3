"""Leases of retrain requests: a worker renews its lease, and a fence shows if another worker took over."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError

from infra.database.schema.monitoring_schema import retrain_requests as requests
from models.errors import TailorbirdError
from tasks.monitoring.retraining.requests import COLUMNS, REQUESTED, RUNNING, Request, lease_expired, span, to_request

LEASE: Final = 120.0
"""Seconds after which a worker that does not renew its lease loses the request."""
_RENEWALS: Final = 6
"""Renewals per lease: five in a row may fail before the lease expires."""


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
    free = (requests.c.status == REQUESTED) | lease_expired()
    columns = {
        "status": RUNNING,
        "fence": requests.c.fence + 1,
        "flow_run": flow_run,
        "leased_until": func.now() + span(lease),
        "started_at": func.coalesce(requests.c.started_at, func.now()),
    }
    statement = update(requests).where(requests.c.request_id == request_id, free).values(columns).returning(*COLUMNS)
    with engine.begin() as connection:
        request = to_request(connection.execute(statement).mappings().first())
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
