"""Records requests of people about their data. A restriction counts at once; an erasure is carried out afterwards."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_unless

from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.privacy_schema import (
    DONE,
    ERASE,
    ERASED,
    LIFT,
    OPEN,
    privacy_requests,
    privacy_subjects,
)
from infra.database.schema.schema import datasets, identities, suppressions, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError, reason_fault
from tasks.lake.reference_data import users_of_devices
from tasks.promotion.champion import current_champion

MOST_USERS: Final = 5_000
"""Users that one request may name."""
DUE: Final = timedelta(days=30)
"""The time for an erasure: GDPR, article 12(3), allows one month."""


def ask(installation: Installation, kind: str, user_ids: Sequence[str], actor: str, reason: str) -> int:
    """Record a request for users by their raw ids, and stop or resume the use of their data; returns its number.

    Their devices belong to it. From now on nobody is shown lists for them, and their new data are refused; after a
    request to lift, they are accepted again. Raises TailorbirdError for no user, too many, or an empty reason.
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
        number = _record(connection, kind, len(names), actor, reason)
        if kind == LIFT:
            connection.execute(delete(suppressions).where(suppressions.c.user_key.in_(list(keys))))
        else:
            _suppress(connection, keys, ERASED if kind == ERASE else reason)
        if kind == ERASE:
            rows = [{"request_id": number, "user_key": key, "user_id": name} for key, name in keys.items()]
            connection.execute(insert(privacy_subjects), rows)
        return number


def keys_of(connection: Connection, installation: Installation, names: Iterable[str]) -> dict[str, str | None]:
    """Return the keys of the users with their raw ids, and those of all their devices and earlier ids."""
    keys: dict[str, str | None] = {pseudonym(name, installation.key): name for name in names}
    owners = users_of_devices(connection, claims=installation.settings.train_on_claims == "yes").to_pylist()
    people = {*keys, *(row["known"] for row in owners if row["device"] in keys)}
    devices = (row["device"] for row in owners if row["known"] in people)
    return dict.fromkeys([*devices, *people]) | keys


def _refuse_lift(connection: Connection, keys: list[str]) -> None:
    """Raise TailorbirdError while an erasure waits, or while the champion could rank by what was erased."""
    waiting = select(privacy_subjects.c.request_id).where(privacy_subjects.c.user_key.in_(keys)).limit(1)
    if number := connection.execute(waiting).scalar():
        raise TailorbirdError(f"Request {number} to erase waits for some of these users: carry it out first.")
    erased = suppressions.c.reason == ERASED, suppressions.c.user_key.in_(keys)
    since = connection.execute(select(func.max(suppressions.c.since)).where(*erased)).scalar()
    champion = current_champion(connection)
    if since is None or champion is None:
        return
    built = select(datasets.c.created_at).where(datasets.c.version == champion["dataset_version"])
    if (made := connection.execute(built).scalar()) is None or made <= since:
        raise TailorbirdError(
            f"Some of these users were erased on {since:%Y-%m-%d}, and the champion learned from them before: run "
            "`tailorbird retrain` and promote its model, then try again."
        )


def _record(connection: Connection, kind: str, users: int, actor: str, reason: str) -> int:
    now, waits = func.now(), kind == ERASE
    row = {"kind": kind, "state": OPEN if waits else DONE, "users": users, "actor": actor, "reason": reason}
    row |= {"due_at": now + DUE if waits else now, "done_at": None if waits else now}
    added = insert(privacy_requests).values(row).returning(privacy_requests.c.request_id)
    number: int = connection.execute(added).scalar_one()
    entry = {"action": f"privacy {kind}", "subject": f"request {number}", "actor": actor, "reason": reason}
    connection.execute(insert(audit_log).values(entry | {"detail": {"users": users}}))
    return number


def _suppress(connection: Connection, keys: Iterable[str], reason: str) -> None:
    added = insert_unless(suppressions).values([{"user_key": key, "reason": reason} for key in keys])
    if reason == ERASED:
        added = added.on_conflict_do_update(
            index_elements=[suppressions.c.user_key], set_={"reason": reason, "since": func.now()}
        )
    else:  # who was erased stays erased
        added = added.on_conflict_do_nothing()
    connection.execute(added)


def unknown_ids(installation: Installation, user_ids: Sequence[str]) -> int:
    """Return how many of these raw ids no store knows: they may be mistyped."""
    keys = {pseudonym(name, installation.key) for name in user_ids}
    with installation.engine.connect() as connection:
        known = select(users.c.user_key).where(users.c.user_key.in_(keys))
        named = select(identities.c.user_key).where(identities.c.user_key.in_(keys))
        return len(keys - set(connection.execute(known.union(named)).scalars()))


def requests(engine: Engine) -> list[dict[str, Any]]:
    """Return all requests, the newest first."""
    with engine.connect() as connection:
        rows = select(privacy_requests).order_by(privacy_requests.c.request_id.desc())
        return [dict(row) for row in connection.execute(rows).mappings()]
