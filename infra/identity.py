"""Pseudonyms: a keyed hash of the raw user id is the only name a user has beyond ingestion."""

import hashlib
import hmac
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, func, select

from infra.bulk import insert_new
from infra.schema import identities
from models.sql import query

KEY_VERSION: Final = 1
_BLOCK: Final = 64
"""Bytes that SHA-256 works on at once; HMAC (RFC 2104) brings its key to that length."""


def pseudonym(user_id: str, key: bytes) -> str:
    """The user's key: HMAC-SHA-256 of the raw id, 64 hex digits. Without the key it cannot be made or checked."""
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def pseudonyms(user_ids: pa.Array, key: bytes) -> pa.Array:
    """The keys of raw ids, null for null: the same HMAC, made by DuckDB on all cores."""
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    # As values of a table, so that the key is in no statement that an error could repeat.
    pads = {
        name: pa.array([bytes(byte ^ mask for byte in block)]) for name, mask in (("inside", 0x36), ("around", 0x5C))
    }
    statement = "SELECT sha256(around || unhex(sha256(inside || encode(id)))) AS key FROM ids CROSS JOIN pads"
    found = query(statement, ids=pa.table({"id": user_ids.cast(pa.string())}), pads=pa.table(pads))
    return found["key"].combine_chunks()


def remember(connection: Connection, names: pa.Table) -> None:
    """Store `user_key` and raw `user_id` in the `identity` schema, where applications join by their own ids."""
    if len(names):
        rows = names.select(["user_key", "user_id"])
        insert_new(connection, identities, rows.append_column("key_version", pa.repeat(KEY_VERSION, len(rows))))


def user_key_of(connection: Connection, user_id: str) -> str | None:
    """Return the key of a raw user id, or None when this user was never ingested.

    By a function of the database, so that a role may ask for one id and not list them all.
    """
    key: str | None = connection.execute(select(func.identity.user_key(user_id))).scalar()
    return key
