"""Computes the keys of users and devices: a keyed hash replaces the raw id after ingestion.

Each key of the chain hashes the output of the key before it, so a rotation needs no raw id. Users and devices with the
same id have different keys.
"""

import hashlib
from collections.abc import Sequence
from functools import reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, func, select, text

from infra.database.bulk_copy import insert_new
from infra.database.schema.schema import identities
from infra.keys import credentials
from models.primitives.arrow_sql import query

_BLOCK: Final = 64
"""The block size of SHA-256 in bytes; HMAC (RFC 2104) pads its key to this length."""

_MANY: Final = 1_000
"""A query takes as long as the hashes of so many names."""


def pseudonym(user_id: str, key: bytes) -> str:
    """Return the user key: HMAC-SHA-256 of the raw id, 64 hex digits. Only holders of the key can compute it."""
    return credentials.hashed(user_id, credentials.keys(key.decode()))


def pseudonyms(user_ids: pa.Array, key: bytes, domain: bytes = b"") -> pa.Array:
    """Return the keys of raw ids of a domain, null for null: the same HMAC, of many ids by DuckDB on all cores."""
    return rekeyed(user_ids, credentials.keys(key.decode()), domain)


def pseudonyms_of(ids: pa.Array, is_device: pa.Array, key: bytes) -> pa.Array:
    """Return the keys of raw ids, each of a user or, where `is_device` is true, of a device."""
    if not pc.any(is_device).as_py():
        return pseudonyms(ids, key)
    devices = pc.if_else(is_device, ids, pa.scalar(None, ids.type))
    users = pc.if_else(is_device, pa.scalar(None, ids.type), ids)
    return pc.coalesce(pseudonyms(users, key), pseudonyms(devices, key, credentials.DEVICE))


def rekeyed(names: pa.Array, added: Sequence[str], domain: bytes = b"") -> pa.Array:
    """Hash ids of a domain, or stored keys, with the `added` keys of the chain, null for null."""
    if len(names) < _MANY:
        hashed = [None if name is None else credentials.hashed(name, added, domain) for name in names.to_pylist()]
        return pa.array(hashed, pa.string())
    names = names.cast(pa.string())
    return reduce(_all_hashed, added[1:], _all_hashed(names, added[0], domain)) if added else names


def _all_hashed(names: pa.Array, key: str, domain: bytes = b"") -> pa.Array:
    secret = key.encode()
    block = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
    # The key is a value in a table: an error could repeat the statement.
    pads = {
        name: pa.array([bytes(byte ^ mask for byte in block) + added])
        for name, mask, added in (("inside", 0x36, domain), ("around", 0x5C, b""))
    }
    statement = "SELECT sha256(around || unhex(sha256(inside || encode(id)))) AS key FROM ids CROSS JOIN pads"
    hashed = query(statement, ids=pa.table({"id": names}), pads=pa.table(pads))
    return hashed["key"].combine_chunks()


def key_version(key: bytes) -> int:
    """Return the number of keys in the chain: 1 before the first rotation."""
    return len(credentials.keys(key.decode()))


def remember(connection: Connection, names: pa.Table, version: int = 1) -> None:
    """Store `user_key` and raw `user_id` in the `identity` schema, where applications join by their own ids."""
    if len(names):
        rows = names.select(["user_key", "user_id"])
        insert_new(connection, identities, rows.append_column("key_version", pa.repeat(version, len(rows))))


def forget_without_consent(connection: Connection, keys: Sequence[str] | None = None) -> int:
    """Delete the raw ids of users who do not agree, of these `keys` or of all; returns how many.

    The answer of a user may be in a message that waits.
    """
    statement = """
        DELETE FROM identity.users AS known WHERE (CAST(:keys AS text[]) IS NULL OR user_key = ANY(:keys))
            AND NOT EXISTS (SELECT FROM users WHERE users.user_key = known.user_key AND consent)
            AND NOT EXISTS (SELECT FROM event_inbox WHERE event_inbox.user_key = known.user_key AND moved_at IS NULL)"""
    return connection.execute(text(statement), {"keys": keys}).rowcount


def user_key_of(connection: Connection, user_id: str) -> str | None:
    """Return the key of a raw user id; None when this user was never ingested.

    It calls a function of the database, so that a role can look up one id without listing all.
    """
    key: str | None = connection.execute(select(func.identity.user_key(user_id))).scalar()
    return key
