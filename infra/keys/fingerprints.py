"""Fingerprints of the keys that stored data depend on, and the rows that record them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, insert, literal_column, select, update

from infra.configuration.settings import Settings
from infra.database.schema.fingerprint_schema import fingerprints
from infra.keys.credentials import environment_secret, find_secret, variable
from infra.keys.signing import public_of

INSTALLATION: Final = "installation"
PSEUDONYM: Final = "pseudonym-key"
SIGNING: Final = "signing-key"
KEYS: Final = (PSEUDONYM, SIGNING)
_LOCK: Final = 0x7A12
_HEX_DIGITS: Final = 32
# `up` compares the keys before it brings an older schema, without this column, up to date.
_IS_PENDING: Final = "coalesce((to_jsonb(installation_fingerprints) ->> 'pending')::boolean, false)"
_PENDING: Final[ColumnElement[bool]] = literal_column(_IS_PENDING).label("pending")


@dataclass(frozen=True)
class Fingerprint:
    """One row: a key of the installation, or its random id."""

    kind: str
    generation: int
    fingerprint: str
    public_key: str | None
    """64 hex digits; None unless it is a signing key."""
    actor: str
    reason: str
    since: datetime
    retired_at: datetime | None
    retired_by: str | None
    retired_because: str | None
    pending: bool
    """A rotation of the pseudonym key has begun, and not all stores are re-keyed yet."""


def fingerprint(kind: str, key: str) -> str:
    """Return 32 hex digits that identify a key and reveal nothing usable about it.

    Raises SigningKeyError for a signing key that is none.
    """
    content = public_of(key) if kind == SIGNING else key
    return hashlib.sha256(f"tailorbird fingerprint of {kind}\0{content}".encode()).hexdigest()[:_HEX_DIGITS]


def present(settings: Settings, kind: str) -> str | None:
    """Return the fingerprint of the key that is here, or None without one."""
    key = find_secret(settings, kind)
    return fingerprint(kind, key) if key else None


def source(settings: Settings, kind: str) -> str:
    """Return where a key comes from: its environment variable or its file."""
    return variable(kind) if environment_secret(kind) else str(settings.var / "secrets" / kind)


def rows(connection: Connection) -> list[Fingerprint]:
    """Return every row, the newest of each kind last."""
    known = [column for column in fingerprints.c if column.name != "pending"]
    ordered = select(*known, _PENDING).order_by(fingerprints.c.kind, fingerprints.c.generation)
    return [Fingerprint(**row) for row in connection.execute(ordered).mappings()]


def newest(found: list[Fingerprint]) -> Mapping[str, Fingerprint]:
    """Return the row in use of each kind."""
    return {row.kind: row for row in found if not row.pending}


def pending(found: list[Fingerprint]) -> Fingerprint | None:
    """Return the row of a rotation that is not finished, or None."""
    return next((row for row in found if row.pending), None)


def trusted(found: list[Fingerprint]) -> list[str]:
    """Return the public signing keys that are not retired, sorted."""
    return sorted(row.public_key for row in found if row.public_key and row.retired_at is None)


def lock(connection: Connection) -> None:
    """Wait until no other process changes the rows; the transaction's end releases the lock."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def record(connection: Connection, kind: str, value: str, actor: str, reason: str, *, begun: bool = False) -> None:
    """Enter a key, or the installation's id, as the newest of its kind; call it under the lock.

    With `begun` it is not in use before `complete`.
    """
    latest = newest(rows(connection)).get(kind)
    row = {
        "kind": kind,
        "generation": latest.generation + 1 if latest else 1,
        "fingerprint": value if kind == INSTALLATION else fingerprint(kind, value),
        "public_key": public_of(value) if kind == SIGNING else None,
        "actor": actor,
        "reason": reason,
    }
    connection.execute(insert(fingerprints).values(row | ({"pending": True} if begun else {})))


def complete(connection: Connection) -> None:
    """Let the pending key be the one in use from now on."""
    done = update(fingerprints).where(fingerprints.c.pending).values(pending=False, since=func.now())
    connection.execute(done)
