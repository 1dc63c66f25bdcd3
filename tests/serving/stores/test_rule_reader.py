"""The current rules in memory, and their copy for a start without the database."""

import asyncio
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from infra.database.engine import database_now
from infra.database.engine import engine as engine_of
from models.lists.rules.layer.rule_layer import NO_VERSION, AnyRule, HiddenItem
from serving.stores.postgres import Postgres
from serving.stores.rules import RuleReader
from tests.serving.operator_rules import boost, pin, store


def test_the_newest_version_is_read_and_its_copy_replaces_it_without_the_database(
    database: str, tmp_path: Path
) -> None:
    engine, copy = engine_of(database), tmp_path / "serving" / "rules.json"

    async def read() -> RuleReader:
        postgres = Postgres(database, 1, 3.0)
        reader = RuleReader(postgres, copy)
        await reader.refresh()
        assert (reader.current, reader.read, copy.exists()) == (NO_VERSION, True, False)
        with engine.connect() as connection:
            assert abs(database_now(connection) - reader.now()) < timedelta(seconds=5)
        for rules in ((pin("a"),), (HiddenItem(item="b"), boost("c", 2.0))):
            await asyncio.to_thread(store, engine, *rules)
            await reader.refresh()
        await postgres.close()
        return reader

    reader = asyncio.run(read())
    assert (reader.current.version, reader.current.layer.hidden) == (2, {"b"})
    later = RuleReader(Postgres(database, 1, 3.0), copy)
    later.read_copy()
    assert later.current == reader.current
    assert not later.read
    assert later.now() == reader.current.created_at
    engine.dispose()


def test_a_copy_of_another_database_gives_way_to_a_version_of_the_same_number(database: str, tmp_path: Path) -> None:
    engine, copy = engine_of(database), tmp_path / "rules.json"

    async def read(*rules: AnyRule) -> RuleReader:
        await asyncio.to_thread(store, engine, *rules)
        postgres = Postgres(database, 1, 3.0)
        reader = RuleReader(postgres, copy)
        reader.read_copy()
        await reader.refresh()
        await postgres.close()
        return reader

    asyncio.run(read(pin("of the database before")))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM operator_rules"))
    reader = asyncio.run(read(pin("a")))
    assert (reader.current.version, reader.current.layer.items) == (1, {"a"})
    engine.dispose()


def test_a_damaged_copy_is_no_copy(database: str, tmp_path: Path) -> None:
    for content in ("{", "[]", '{"version": 1}'):
        (tmp_path / "rules.json").write_text(content)
        reader = RuleReader(Postgres(database, 1, 3.0), tmp_path / "rules.json")
        reader.read_copy()
        assert reader.current == NO_VERSION
