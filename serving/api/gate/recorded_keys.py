"""Reads the keys of the database into memory, and keeps a copy for a start without the database."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import orjson

from infra.keys.api_keys import ApiKey, all_scopes, kind_of
from serving.api.gate.keyring import Keyring

if TYPE_CHECKING:
    from serving.stores.postgres import Postgres

_VALID: Final = """
    SELECT key.key_id, name, scopes, kind, secret_hash, requests_per_second,
        extract(epoch FROM expires_at - now())::float8 AS seconds_left,
        coalesce(usage.calls >= $1 OR usage.bytes >= $2, false) AS is_spent
    FROM api_keys AS key LEFT JOIN key_usage AS usage
        ON usage.key_id = key.key_id AND usage.day = (now() AT TIME ZONE 'UTC')::date
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"""
_USED: Final = """
    UPDATE api_keys SET last_used_at = now()
    WHERE key_id = ANY($1::text[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"""
_UNLIMITED: Final = (2**62, 2**62)
FILE: Final = "serving/api_keys.json"
"""The copy within `var` of keys that do not expire: hashes of random texts, from which no key can be computed."""


class RecordedKeys:
    """Refreshes a keyring from the database."""

    def __init__(
        self, keyring: Keyring, database: "Postgres", copy: Path, workers: int = 1, quota: tuple[int, int] = _UNLIMITED
    ) -> None:
        """`workers` share the limits of each key; `quota` has the calls and bytes of a page key per day."""
        self._keyring, self._database, self._copy, self._workers = keyring, database, copy, workers
        self._quota = quota
        self._read: list[dict[str, Any]] | None = None

    async def refresh(self) -> None:
        """Read all valid keys, and record which were used."""
        rows = [dict(row) for row in await self._database.fetch(_VALID, *self._quota)]
        self._keyring.replace(_keys(rows, self._workers))
        # Only the database's clock decides when a key expires, so the copy holds keys without an end.
        kept = [row for row in rows if row["seconds_left"] is None]
        if kept != self._read:
            self._read = kept
            self._store(kept)
        used = list(self._keyring.used)
        if used:
            self._keyring.used.difference_update(used)
            await self._database.fetch(_USED, used)

    def read_copy(self) -> None:
        """Take the keys of the copy, if the database gave none yet."""
        try:
            rows = orjson.loads(self._copy.read_bytes())
            keys = _keys([_decoded(row) for row in rows], self._workers)
        except (OSError, ValueError, KeyError, TypeError):
            return
        if not self._keyring.is_loaded:
            self._keyring.replace(keys)

    def _store(self, rows: list[dict[str, Any]]) -> None:
        """Store the copy in one step. Without it, a start without the database knows no key."""
        draft = self._copy.with_name(f".{self._copy.name}.{os.getpid()}")
        try:
            self._copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(rows, default=_encoded))
            draft.replace(self._copy)
        except OSError:
            draft.unlink(missing_ok=True)


def _keys(rows: Sequence[dict[str, Any]], workers: int) -> list[ApiKey]:
    return [
        ApiKey(
            row["key_id"],
            row["name"],
            all_scopes(row["scopes"]),
            row["secret_hash"],
            None if row["requests_per_second"] is None else row["requests_per_second"] / workers,
            row.get("kind") or kind_of(row["scopes"]),  # a copy of an earlier version has no kinds
            None if row["seconds_left"] is None else monotonic() + row["seconds_left"],
            row.get("is_spent", False),
        )
        for row in rows
    ]


_encoded: Callable[[Any], str] = bytes.hex


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "secret_hash": bytes.fromhex(row["secret_hash"])}
