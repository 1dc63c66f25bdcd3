"""Pseudonyms: a keyed hash of the raw user id is the only name a user has beyond ingestion."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from infra.bulk import insert_new
from infra.schema import identities

KEY_VERSION = 1


def pseudonym(user_id: str, key: bytes) -> str:
    """The user's key: HMAC-SHA-256 of the raw id, 64 hex digits. Without the key it cannot be made or checked."""
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def pseudonyms(user_ids: Iterable[str], key: bytes) -> dict[str, str]:
    """Raw id → user key, each distinct id hashed once."""
    return {user_id: pseudonym(user_id, key) for user_id in set(user_ids)}


def remember(connection: Connection, names: Mapping[str, str]) -> None:
    """Store the map raw id → user key in the `identity` schema, where applications join by their own ids."""
    if names:
        rows = ((key, user_id, KEY_VERSION) for user_id, key in names.items())
        insert_new(connection, identities, ("user_key", "user_id", "key_version"), rows)


def user_key_of(connection: Connection, user_id: str) -> str | None:
    """The key of a raw user id, or None when this user was never ingested."""
    found = select(identities.c.user_key).where(identities.c.user_id == user_id)
    key: str | None = connection.execute(found).scalar()
    return key
