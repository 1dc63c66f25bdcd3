"""Records requests of people about their data. What counts at once is one function of the database, as for the API."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from infra.database.privacy_requests import MOST_USERS, Asked, record_request
from infra.database.schema.privacy_schema import (
    DONE,
    ERASE,
    ERASED,
    EXPORT,
    LIFT,
    OPEN,
    RESTRICT,
    privacy_requests,
    privacy_subjects,
)
from infra.database.schema.schema import identities, suppressions, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError, reason_fault
from tasks.lake.reference_data import users_of_devices


def ask(
    installation: Installation,
    kind: str,
    user_ids: Sequence[str],
    actor: str,
    reason: str,
    *,
    suppress: bool = False,
    purpose: str | None = None,
) -> int:
    """Record a request for users by their raw ids, and stop or resume the use of their data; returns its number.

    Their devices belong to it. Users to restrict or to erase are shown no lists from now on, and their new data are
    refused. Raises TailorbirdError for no user, too many, or an empty reason.
    """
    if fault := reason_fault(reason, f"the users are named in a request to {kind}", "asked by mail"):
        raise TailorbirdError(fault)
    names = sorted(set(user_ids))
    if not names or not all(name.strip() for name in names):
        raise TailorbirdError("Name users by their ids: as arguments, or one per line in a file with --file.")
    if len(names) > MOST_USERS:
        raise TailorbirdError(f"A request may name {MOST_USERS:,} users, not {len(names):,}: make several requests.")
    with installation.engine.begin() as connection:
        keys = keys_of(connection, installation, names)
        if kind == LIFT:
            _refuse_lift(connection, list(keys))
            connection.execute(delete(suppressions).where(suppressions.c.user_key.in_(list(keys))))
        asked = Asked(kind, keys, actor, reason, suppress, purpose)
        days = installation.settings.privacy_due_days
        number = record_request(connection, asked, days, waits=kind in (ERASE, EXPORT))
        assert number is not None  # nobody to lift is erased any more
        return number


def add_devices(installation: Installation) -> None:
    """Add devices and earlier ids to the open requests, which the API cannot see.

    Requests to restrict and to lift are done then. Users whose restriction ended or began meanwhile stay as they are.
    """
    with installation.engine.begin() as connection:
        waiting = select(privacy_requests).where(privacy_requests.c.state == OPEN, privacy_requests.c.kind != EXPORT)
        for request in connection.execute(waiting.order_by(privacy_requests.c.request_id)).mappings().all():
            number, own = request["request_id"], privacy_subjects.c
            named = select(own.user_id).where(own.request_id == number, own.user_id.is_not(None))
            keys = keys_of(connection, installation, connection.execute(named).scalars().all())
            if request["kind"] == ERASE:
                _add_subjects(connection, number, keys)
                continue
            still = select(suppressions.c.user_key).where(suppressions.c.user_key.in_(list(keys)))
            suppressed = set(connection.execute(still).scalars())
            chosen = [
                name for key, name in keys.items() if name and (key in suppressed) == (request["kind"] == RESTRICT)
            ]
            devices = [key for key, name in keys_of(connection, installation, chosen).items() if not name]
            if request["kind"] == RESTRICT:
                _suppress(connection, devices, request["reason"])
            else:
                gone = suppressions.c.user_key.in_(devices), suppressions.c.reason != ERASED
                connection.execute(delete(suppressions).where(*gone))
            finish(connection, number)


def finish(connection: Connection, number: int) -> None:
    """Close a request, and forget whom it names."""
    connection.execute(delete(privacy_subjects).where(privacy_subjects.c.request_id == number))
    closed = update(privacy_requests).where(privacy_requests.c.request_id == number)
    connection.execute(closed.values(state=DONE, done_at=func.now()))


def keys_of(connection: Connection, installation: Installation, names: Iterable[str]) -> dict[str, str | None]:
    """Return the keys of the users with their raw ids, and those of all their devices and earlier ids."""
    keys: dict[str, str | None] = {pseudonym(name, installation.key): name for name in names}
    owners = users_of_devices(connection, claims=installation.settings.train_on_claims == "yes").to_pylist()
    people = {*keys, *(row["known"] for row in owners if row["device"] in keys)}
    devices = (row["device"] for row in owners if row["known"] in people)
    return dict.fromkeys([*devices, *people]) | keys


def _refuse_lift(connection: Connection, keys: list[str]) -> None:
    """Raise TailorbirdError while an erasure waits."""
    waiting = select(privacy_subjects.c.request_id).where(privacy_subjects.c.user_key.in_(keys)).limit(1)
    if number := connection.execute(waiting).scalar():
        raise TailorbirdError(f"Request {number} to erase waits for some of these users: carry it out first.")


def _add_subjects(connection: Connection, number: int, keys: Mapping[str, str | None]) -> None:
    rows = [{"request_id": number, "user_key": key, "user_id": name} for key, name in keys.items()]
    if rows:
        connection.execute(insert_unless(privacy_subjects).on_conflict_do_nothing(), rows)
        _suppress(connection, keys, ERASED)


def _suppress(connection: Connection, keys: Iterable[str], reason: str) -> None:
    """Suppress users; who is suppressed already stays so for the earlier reason."""
    if rows := [{"user_key": key, "reason": reason} for key in keys]:
        connection.execute(insert_unless(suppressions).on_conflict_do_nothing(), rows)


def unknown_ids(installation: Installation, user_ids: Sequence[str]) -> int:
    """Return how many of these raw ids no store knows: they may be mistyped."""
    keys = {pseudonym(name, installation.key) for name in user_ids}
    with installation.engine.connect() as connection:
        known = select(users.c.user_key).where(users.c.user_key.in_(keys))
        named = select(identities.c.user_key).where(identities.c.user_key.in_(keys))
        return len(keys - set(connection.execute(known.union(named)).scalars()))


def requests(engine: Engine) -> list[dict[str, Any]]:
    """Return all requests, the newest first; `late` are those that wait after their day."""
    late = and_(privacy_requests.c.state == OPEN, privacy_requests.c.due_at < func.now()).label("late")
    with engine.connect() as connection:
        rows = select(privacy_requests, late).order_by(privacy_requests.c.request_id.desc())
        return [dict(row) for row in connection.execute(rows).mappings()]
