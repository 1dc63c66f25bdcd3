"""Computes user keys: a keyed hash replaces the raw user id after ingestion.

Each key of the chain hashes the output of the key before it, so a rotation needs no raw id.
"""

import hashlib
from collections.abc import Sequence
from functools import reduce
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, func, select

from infra.database.bulk_copy import insert_new
from infra.database.schema.schema import identities
from infra.keys import key_chain
from models.primitives.arrow_sql import query

_BLOCK: Final = 64
"""The block size of SHA-256 in bytes; HMAC (RFC 2104) pads its key to this length."""

_MANY: Final = 1_000
"""A query takes as long as the hashes of so many names."""


def pseudonym(user_id: str, key: bytes) -> str:
    """Return the user key: HMAC-SHA-256 of the raw id, 64 hex digits. Only holders of the key can compute it."""
    return key_chain.hashed(user_id, key_chain.keys(key.decode()))


def pseudonyms(user_ids: pa.Array, key: bytes) -> pa.Array:
    """Return the user keys of raw ids, null for null: the same HMAC, of many ids computed by DuckDB on all cores."""
    return rekeyed(user_ids, key_chain.keys(key.decode()))


def rekeyed(names: pa.Array, added: Sequence[str]) -> pa.Array:
    """Hash stored user keys with the `added` keys of the chain, null for null."""
    if len(names) < _MANY:
        hashed = [None if name is None else key_chain.hashed(name, added) for name in names.to_pylist()]
        return pa.array(hashed, pa.string())
    return reduce(_all_hashed, added, names.cast(pa.string()))


def _all_hashed(names: pa.Array, key: str) -> pa.Array:
    secret = key.encode()
    block = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    # The key is a value in a table: an error could repeat the statement.
    pads = {
        name: pa.array([bytes(byte ^ mask for byte in block)]) for name, mask in (("inside", 0x36), ("around", 0x5C))
    }
    statement = "SELECT sha256(around || unhex(sha256(inside || encode(id)))) AS key FROM ids CROSS JOIN pads"
    hashed = query(statement, ids=pa.table({"id": names}), pads=pa.table(pads))
    return hashed["key"].combine_chunks()


def key_version(key: bytes) -> int:
    """Return the number of keys in the chain: 1 before the first rotation."""
    return len(key_chain.keys(key.decode()))


def remember(connection: Connection, names: pa.Table, version: int = 1) -> None:
    """Store `user_key` and raw `user_id` in the `identity` schema, where applications join by their own ids."""
    if len(names):
        rows = names.select(["user_key", "user_id"])
        insert_new(connection, identities, rows.append_column("key_version", pa.repeat(version, len(rows))))


def user_key_of(connection: Connection, user_id: str) -> str | None:
    """Return the key of a raw user id; None when this user was never ingested.

    It calls a function of the database, so that a role can look up one id without listing all.
    """
    key: str | None = connection.execute(select(func.identity.user_key(user_id))).scalar()
    return key
