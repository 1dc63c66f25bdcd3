"""Keys in memory, from a real database, and from the copy while the database is away."""

import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.database.engine import engine
from infra.keys.recorded_api_keys import NewKey, create_key, list_keys, revoke_key, rotate_key
from serving.api.gate.keyring import Keyring, RecordedKeys
from serving.stores.postgres import Postgres
from serving.stores.shared_loads import PostgresDownError

pytestmark = pytest.mark.anyio


class Away:
    """A database that does not answer."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:  # noqa: ARG002
        raise PostgresDownError("Postgres does not answer.")


def accepts(keyring: Keyring, key: object) -> bool:
    return keyring.find(f"Bearer {key}".encode(), b"") is not None


async def test_valid_keys_are_read_and_their_use_is_recorded(database: str, tmp_path: Path) -> None:
    opened, keyring, copy = engine(database), Keyring(), tmp_path / "serving" / "keys.json"
    first = create_key(opened, NewKey("shop", ["read"], 40, timedelta(days=1)), "ann")
    other = create_key(opened, NewKey("blog", ["read"]), "ann")
    postgres = Postgres(database, 1, 5)
    recorded = RecordedKeys(keyring, postgres, copy, workers=2)
    await recorded.refresh()
    assert accepts(keyring, first["key"])
    found = keyring.find(f"Bearer {first['key']}".encode(), b"")
    assert found is not None
    assert found[1].rate == 20  # each of two workers allows half
    await recorded.refresh()
    assert {row["name"]: row["last_used_at"] is not None for row in list_keys(opened)} == {"shop": True, "blog": False}
    revoke_key(opened, str(first["key_id"]), "ann")
    successor = rotate_key(opened, str(other["key_id"]), timedelta(0), "ann")
    await recorded.refresh()
    assert [accepts(keyring, made["key"]) for made in (first, other, successor)] == [False, False, True]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert str(successor["key"]) not in copy.read_text()
    await postgres.close()
    await _without_the_database(copy, str(successor["key"]), str(first["key"]))


async def _without_the_database(copy: Path, valid: str, revoked: str) -> None:
    """A server that starts while the database is away knows the keys of the copy, and keeps them."""
    keyring = Keyring()
    recorded = RecordedKeys(keyring, Away(), copy)
    recorded.read_copy()
    with pytest.raises(PostgresDownError):
        await recorded.refresh()
    assert [accepts(keyring, key) for key in (valid, revoked)] == [True, False]


async def test_a_damaged_copy_gives_no_key(tmp_path: Path) -> None:
    for content in (b"", b"[{}]", b"\xff", b'[{"key_id": 1, "secret_hash": "zz"}]', b"{}"):
        (tmp_path / "keys.json").write_bytes(content)
        keyring = Keyring()
        RecordedKeys(keyring, Away(), tmp_path / "keys.json").read_copy()
        assert keyring.find(b"Bearer x", b"") is None
    assert not Keyring().is_loaded


async def test_the_use_of_all_processes_spends_the_daily_quota_of_a_key(database: str, tmp_path: Path) -> None:
    opened, keyring, postgres = engine(database), Keyring(), Postgres(database, 1, 5)
    made = create_key(opened, NewKey("web", ["collect"]), "ann")
    recorded = RecordedKeys(keyring, postgres, tmp_path / "keys.json", quota=(100, 1000))

    async def is_spent(day: str, calls: int, size: int) -> bool:
        with opened.begin() as connection:
            values = {"key": made["key_id"], "calls": calls, "bytes": size}
            connection.execute(text("DELETE FROM key_usage"))
            connection.execute(text(f"INSERT INTO key_usage VALUES (:key, {day}, :calls, :bytes)"), values)
        await recorded.refresh()
        found = keyring.find(f"Bearer {made['key']}".encode(), b"")
        assert found is not None
        return found[0].is_spent

    today = "(now() AT TIME ZONE 'UTC')::date"
    assert [await is_spent(today, *used) for used in ((99, 999), (100, 1), (1, 1000))] == [False, True, True]
    assert not await is_spent(f"{today} - 1", 1000, 10_000)
    await postgres.close()
