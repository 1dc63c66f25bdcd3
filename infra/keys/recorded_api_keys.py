"""Records, lists, replaces and revokes the keys of callers of the API in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, case, func, insert, select, update

from infra.database.schema.serving_schema import api_keys
from infra.keys.api_keys import COLLECT, KeyKind, Scope, create_secret, hash_of, kind_of
from models.errors import TailorbirdError

_LISTED: Final = (
    *(api_keys.c.key_id, api_keys.c.name, api_keys.c.scopes, api_keys.c.kind, api_keys.c.requests_per_second),
    *(api_keys.c.created_by, api_keys.c.created_at, api_keys.c.last_used_at, api_keys.c.expires_at),
    *(api_keys.c.revoked_at, api_keys.c.revoked_by),
)
_STATE: Final = case(
    (api_keys.c.revoked_at.is_not(None), "revoked"), (api_keys.c.expires_at <= func.now(), "expired"), else_="valid"
).label("state")


@dataclass(frozen=True)
class NewKey:
    """What a person decides about a new key."""

    name: str
    scopes: Sequence[Scope]
    requests_per_second: float | None = None
    valid_for: timedelta | None = None
    kind: KeyKind | None = None
    """None: by its scopes."""


def create_key(engine: Engine, new: NewKey, actor: str) -> dict[str, Any]:
    """Record a new key. The result holds the key itself, which cannot be shown again.

    Raises TailorbirdError if pages and servers would send events of one source.
    """
    with engine.begin() as connection:
        kind = new.kind or kind_of(new.scopes)
        other = select(api_keys.c.kind).where(
            api_keys.c.name == new.name, api_keys.c.scopes == [COLLECT], api_keys.c.kind != kind
        )
        if COLLECT in new.scopes and (taken := connection.execute(other.where(_STATE == "valid")).scalar()):
            raise TailorbirdError(
                f"{new.name!r} is the source of a {taken} key. A page could take the ids of a server's messages, so "
                f"keys of pages and of servers need different names, such as {new.name}-{kind}."
            )
        return _insert(connection, new, actor)


def list_keys(engine: Engine) -> list[dict[str, Any]]:
    """Return all keys without secrets and hashes, the newest last."""
    with engine.connect() as connection:
        rows = connection.execute(select(*_LISTED, _STATE).order_by(api_keys.c.created_at, api_keys.c.key_id))
        return [dict(row) for row in rows.mappings()]


def rotate_key(engine: Engine, key_id: str, overlap: timedelta, actor: str) -> dict[str, Any]:
    """Record a successor with the same name, scopes, kind and limits; the old key expires after `overlap`.

    Raises TailorbirdError.
    """
    with engine.begin() as connection:
        old = _lock_valid(connection, key_id)
        end = func.least(func.now() + overlap, api_keys.c.expires_at)
        connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(expires_at=end))
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        return _insert(connection, NewKey(old.name, old.scopes, old.requests_per_second, lifetime, old.kind), actor)


def revoke_key(engine: Engine, key_id: str, actor: str) -> None:
    """End a key at once. Raises TailorbirdError."""
    with engine.begin() as connection:
        _lock_valid(connection, key_id)
        ended = {"revoked_at": func.now(), "revoked_by": actor}
        connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(ended))


def _insert(connection: Connection, new: NewKey, actor: str) -> dict[str, Any]:
    key_id, key = create_secret()
    values = {
        "key_id": key_id,
        "name": new.name,
        "scopes": list(new.scopes),
        "kind": new.kind or kind_of(new.scopes),
        "secret_hash": hash_of(key),
        "requests_per_second": new.requests_per_second,
        "created_by": actor,
        "expires_at": None if new.valid_for is None else func.now() + new.valid_for,
    }
    row = connection.execute(insert(api_keys).values(values).returning(*_LISTED)).mappings().one()
    shown = ("key_id", "name", "scopes", "kind", "requests_per_second", "expires_at")
    return {**{name: row[name] for name in shown}, "key": key}


def _lock_valid(connection: Connection, key_id: str) -> Row[Any]:
    """Return and lock the row of a key that is neither revoked nor expired."""
    query = select(api_keys).where(api_keys.c.key_id == key_id, _STATE == "valid").with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise TailorbirdError(
            f"There is no valid API key {key_id!r}. `tailorbird keys list` shows the ids and states of all keys."
        )
    return row
