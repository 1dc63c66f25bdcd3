"""Reads and writes the rows that record the fingerprints of keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, insert, literal_column, select, update

from infra.database.schema.trust_schema import fingerprints
from infra.keys.fingerprints import INSTALLATION, SIGNING, fingerprint
from infra.keys.signing import public_of

_LOCK: Final = 0x7A12
# `up` compares the keys before it migrates an older schema, which lacks this column.
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
    """Whether a rotation of the pseudonym key has begun and some stores are not re-keyed yet."""


def rows(connection: Connection) -> list[Fingerprint]:
    """Return every row, the newest of each kind last."""
    known = [column for column in fingerprints.c if column.name != "pending"]
    ordered = select(*known, _PENDING).order_by(fingerprints.c.kind, fingerprints.c.generation)
    return [Fingerprint(**row) for row in connection.execute(ordered).mappings()]


def newest(records: list[Fingerprint]) -> Mapping[str, Fingerprint]:
    """Return the row in use, by kind."""
    return {row.kind: row for row in records if not row.pending}


def pending(records: list[Fingerprint]) -> Fingerprint | None:
    """Return the row of an unfinished rotation; None without one."""
    return next((row for row in records if row.pending), None)


def trusted(records: list[Fingerprint]) -> list[str]:
    """Return the public signing keys that are not retired, sorted."""
    return sorted(row.public_key for row in records if row.public_key and row.retired_at is None)


def lock(connection: Connection) -> None:
    """Wait until no other process changes the rows; the end of the transaction releases the lock."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def record(connection: Connection, kind: str, value: str, actor: str, reason: str, *, begun: bool = False) -> None:
    """Insert a key, or the installation's id, as the newest of its kind. Call it under the lock.

    With `begun` the key is not in use before `complete_rotation`.
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


def complete_rotation(connection: Connection) -> None:
    """Put the pending key into use."""
    change = update(fingerprints).where(fingerprints.c.pending).values(pending=False, since=func.now())
    connection.execute(change)
