"""Records requests of people about their data, and writes and checks signed receipts of them.

What counts at once is one function of the database, as for the API.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from infra.configuration.settings import Settings
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
from infra.database.schema.schema import identities, promotions, suppressions, users
from infra.installation import Installation
from infra.keys import credentials
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError, reason_fault
from models.primitives.json_types import JsonObject
from tasks.lake.reference_data import users_of_devices

_SIGNATURE: Final = "signature"


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


def write_receipt(installation: Installation, number: int, file: Path) -> JsonObject:
    """Write the receipt of a request as JSON, signed with the installation's key, and return it.

    `learned_from_them` has the promoted versions whose models learned before the erasure was done: they hold
    pseudonyms until they are deleted. Raises TailorbirdError for an unknown number, or a file that exists.
    """
    with installation.engine.connect() as connection:
        chosen = select(privacy_requests).where(privacy_requests.c.request_id == number)
        request = connection.execute(chosen).mappings().first()
        if request is None:
            raise TailorbirdError(f"There is no request {number}. `tailorbird privacy list` shows all.")
        done = request["done_at"]
        before = select(promotions.c.model_version).distinct().order_by(promotions.c.model_version)
        versions = connection.execute(before.where(promotions.c.promoted_at <= done) if done else before).scalars()
        content: JsonObject = json.loads(json.dumps(dict(request), default=datetime.isoformat))
        learned = request["kind"] == "erase" and request["forgotten_at"] is None
        content["learned_from_them"] = list(versions) if learned else []
    content["installation"] = credentials.public_key(installation.settings)
    signed = {**content, _SIGNATURE: credentials.sign(installation.settings, _bytes(content)).hex()}
    try:
        with file.open("x") as stream:
            stream.write(json.dumps(signed, indent=1) + "\n")
    except OSError as error:
        raise TailorbirdError(f"{file} cannot be written: {error.strerror}. Name a new file with --to.") from None
    return signed


def check_receipt(settings: Settings, file: Path) -> JsonObject:
    """Return a receipt that an installation's trusted key signed; raises TailorbirdError for any other file."""
    try:
        content: JsonObject = json.loads(file.read_text())
        signature = bytes.fromhex(content.pop(_SIGNATURE))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise TailorbirdError(f"{file} is no receipt of a request, or is incomplete.") from None
    credentials.verify(settings, _bytes(content), signature)
    return content


def _bytes(content: JsonObject) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
