"""What follows the database: the catalogue row by row, rules with a copy, placements, users' changes, refreshes."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.database.engine import database_now
from infra.database.engine import engine as engine_of
from models.lists.rules.layer.rule_layer import NO_VERSION, HiddenItem, RuleLayer, RuleVersion
from models.lists.rules.placement_config import Placement
from serving.stores.catalogue import CatalogueReader
from serving.stores.changes import UserChanges
from serving.stores.postgres import Postgres
from serving.stores.refresher import Refresher
from serving.stores.rules import LayeredPlacements, RuleReader
from tests.serving.made_up_shop import ITEMS, write
from tests.serving.operator_rules import boost, pin, store

NOW = datetime(2026, 11, 29, tzinfo=UTC)
FILE = {"home": Placement(k=3), "email": Placement(k=2)}
pytestmark = pytest.mark.anyio


class Counting(Postgres):
    """Counts the rows that were read."""

    rows = 0

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        found = await super().fetch(statement, *arguments)
        self.rows += len(found)
        return found


async def test_changed_rows_alone_are_read_again(stocked: tuple[str, Engine]) -> None:
    url, engine = stocked
    postgres = Counting(url, 1, 5.0)
    reader = CatalogueReader(postgres)
    assert await reader.refresh()
    first = reader.current
    assert sorted(first.by_id) == ITEMS
    assert first.by_id["item-00"].title == "Title of item-00"
    assert len(first.sold) == len(ITEMS)
    postgres.rows = 0
    assert not await reader.refresh()
    assert reader.current is first
    assert postgres.rows == 2  # the states before and after
    other = CatalogueReader(postgres, reader.known)
    assert not other.read
    postgres.rows = 0
    assert not await other.refresh()
    assert (other.current, other.read, postgres.rows) == (first, True, 2)

    def change(statement: str) -> None:
        write(engine, f"UPDATE items SET {statement}")

    await asyncio.to_thread(change, "price = 7, price_paid = 6.5, currency_paid = 'EUR' WHERE item_id = 'item-03'")
    postgres.rows = 0
    assert await reader.refresh()
    assert postgres.rows == 3
    assert reader.current.by_id["item-03"].price == 7
    assert reader.current.by_id["item-03"].price_paid == 6.5
    assert reader.current.by_id["item-03"].currency_paid == "EUR"
    assert reader.current.by_id["item-04"] is first.by_id["item-04"]
    await asyncio.to_thread(change, "available_until = now() - interval '1 s' WHERE item_id = 'item-05'")
    assert await reader.refresh()
    assert "item-05" not in reader.current.sold
    await asyncio.to_thread(change, "available_from = clock_timestamp() + interval '0.3 s' WHERE item_id = 'item-06'")
    assert await reader.refresh()
    assert "item-06" not in reader.current.sold
    async with asyncio.timeout(5):
        while not await reader.refresh():
            await asyncio.sleep(0.05)
    assert "item-06" in reader.current.sold
    stated = """attributes = '{"variant_ids": "item-08 S\nitem-08 M"}' WHERE item_id = 'item-08'"""
    await asyncio.to_thread(change, stated.replace("\n", "\\n"))
    assert await reader.refresh()
    assert reader.current.product("item-08 M") == "item-08"
    await asyncio.to_thread(write, engine, "DELETE FROM items WHERE item_id = 'item-07'")
    assert await reader.refresh()
    assert "item-07" not in reader.current.by_id
    await _sees_a_transaction_that_commits_late(reader, engine)
    await postgres.close()


async def _sees_a_transaction_that_commits_late(reader: CatalogueReader, engine: Engine) -> None:
    with engine.connect() as slow:
        slow.exec_driver_sql("UPDATE items SET price = 8 WHERE item_id = 'item-08'")
        await asyncio.to_thread(write, engine, "UPDATE items SET price = 9 WHERE item_id = 'item-09'")
        assert await reader.refresh()
        slow.commit()
    assert await reader.refresh()
    assert (reader.current.by_id["item-08"].price, reader.current.by_id["item-09"].price) == (8, 9)


async def test_the_newest_version_is_read_and_its_copy_replaces_it_without_the_database(
    database: str, tmp_path: Path
) -> None:
    engine, copy = engine_of(database), tmp_path / "serving" / "rules.json"
    postgres = Postgres(database, 1, 3.0)
    reader = RuleReader(postgres, copy)
    await reader.refresh()
    assert (reader.current, reader.read, copy.exists()) == (NO_VERSION, True, False)
    with engine.connect() as connection:
        assert abs(database_now(connection) - reader.now()) < timedelta(seconds=5)
    for rules in ((pin("a"),), (HiddenItem(item="b"), boost("c", 2.0))):
        store(engine, *rules)
        await reader.refresh()
    await postgres.close()
    assert (reader.current.version, reader.current.layer.hidden) == (2, {"b"})
    later = RuleReader(Postgres(database, 1, 3.0), copy)
    later.read_copy()
    assert later.current == reader.current
    assert not later.read
    assert later.now() == reader.current.created_at
    engine.dispose()


async def test_a_copy_of_another_database_gives_way_to_a_version_of_the_same_number(
    database: str, tmp_path: Path
) -> None:
    engine = engine_of(database)
    for name in ("of the database before", "a"):
        write(engine, "DELETE FROM operator_rules")
        store(engine, pin(name))
        postgres = Postgres(database, 1, 3.0)
        reader = RuleReader(postgres, tmp_path / "rules.json")
        reader.read_copy()
        await reader.refresh()
        await postgres.close()
    assert (reader.current.version, reader.current.layer.items) == (1, {"a"})
    engine.dispose()


def test_a_damaged_copy_is_no_copy(database: str, tmp_path: Path) -> None:
    for content in ("{", "[]", '{"version": 1}'):
        (tmp_path / "rules.json").write_text(content)
        reader = RuleReader(Postgres(database, 1, 3.0), tmp_path / "rules.json")
        reader.read_copy()
        assert reader.current == NO_VERSION


@dataclass
class Rules:
    """A version and a clock that a test sets."""

    current: RuleVersion = NO_VERSION
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


def test_a_rule_ends_at_its_moment() -> None:
    ending = RuleLayer((), (HiddenItem(item="a", until=NOW + timedelta(seconds=1)),))
    rules = Rules(replace(NO_VERSION, layer=ending))
    placements = LayeredPlacements(FILE, rules)
    assert placements.layer("home").hidden == {"a"}
    assert placements["home"].rules.exclude_items == ["a"]
    before = placements.snapshot
    assert placements.snapshot is before
    rules.moment = NOW + timedelta(seconds=1)
    assert placements.layer("home").hidden == frozenset()
    assert placements.snapshot is not before
    assert placements["home"] == FILE["home"]


def test_a_placement_that_a_new_version_leaves_as_it_was_stays_the_same_object() -> None:
    rules = Rules()
    placements = LayeredPlacements(FILE, rules)
    assert placements["home"] is FILE["home"]
    rules.current = replace(NO_VERSION, version=1, layer=RuleLayer((pin("a"),)))
    home, email, layer = placements["home"], placements["email"], placements.layer("home")
    assert email is FILE["email"]
    rules.current = replace(NO_VERSION, version=2, layer=RuleLayer((pin("a"), pin("b", 1, "email"))))
    assert placements["email"] is not email
    assert (placements["home"] is home, placements.layer("home") is layer) == (True, True)
    assert (len(placements), list(placements)) == (2, ["home", "email"])


async def test_a_caller_gets_what_was_there_when_it_asked_though_a_refresh_was_running() -> None:
    stored, read, running = 1, 0, asyncio.Event()

    async def refresh() -> None:
        nonlocal read
        found = stored
        running.set()
        await asyncio.sleep(0.05)
        read = found

    refresher = Refresher(refresh, 60)
    task = asyncio.create_task(refresher.run())
    await running.wait()
    stored = 2
    await refresher.refreshed()
    assert read == 2
    task.cancel()


async def test_callers_wait_a_second_at_most_and_only_some_of_them_while_the_source_hangs() -> None:
    refresher = Refresher(asyncio.Event().wait, 60)
    task = asyncio.create_task(refresher.run())
    began = monotonic()

    async def seconds() -> float:
        await refresher.refreshed()
        return monotonic() - began

    waited = sorted(await asyncio.gather(*(seconds() for _ in range(1000))))
    assert waited[-17] < 0.9 < waited[-16]
    assert waited[-1] < 5
    task.cancel()


async def test_a_refresh_that_fails_lets_callers_go_on() -> None:
    async def refresh() -> None:
        raise ValueError("damaged")

    refresher = Refresher(refresh, 60)
    task = asyncio.create_task(refresher.run())
    began = monotonic()
    await refresher.refreshed()
    assert monotonic() - began < 0.9
    task.cancel()


def listening(now: float) -> UserChanges:
    changes = UserChanges()
    changes.date(frozenset(), now, restarted=True)
    return changes


def test_values_from_before_the_process_listened_do_not_hold() -> None:
    assert not UserChanges().unchanged_since("ann", 1e12)
    changes = listening(100.0)
    assert not changes.unchanged_since("ann", 99.0)
    assert changes.unchanged_since("ann", 101.0)


def test_a_change_ends_all_values_until_it_is_dated_and_then_the_older_ones() -> None:
    changes = listening(100.0)
    changes.changed("ann")
    assert not changes.unchanged_since("ann", 105.0)
    assert changes.unchanged_since("bob", 105.0)
    changes.date(changes.pending(), 106.0)
    assert not changes.unchanged_since("ann", 105.0)
    assert changes.unchanged_since("ann", 107.0)


def test_a_change_while_the_clock_is_read_stays_undated() -> None:
    changes = listening(100.0)
    changes.changed("ann")
    pending = changes.pending()
    changes.changed("ann")
    changes.date(pending, 106.0)
    assert not changes.unchanged_since("ann", 107.0)
    changes.date(changes.pending(), 108.0)
    assert changes.unchanged_since("ann", 109.0)


def test_after_a_lost_connection_nothing_older_holds() -> None:
    changes = listening(100.0)
    changes.changed("ann")
    changes.pending()  # the connection is lost before the answer
    changes.date(frozenset(), 200.0, restarted=True)
    assert not changes.unchanged_since("ann", 150.0)
    assert not changes.unchanged_since("bob", 150.0)
    assert changes.unchanged_since("ann", 201.0)


def test_if_the_clock_goes_back_nothing_holds_until_it_caught_up() -> None:
    changes = listening(100.0)
    changes.date(frozenset(), 200.0)
    changes.date(frozenset(), 150.0)
    assert not changes.unchanged_since("ann", 160.0)
    assert not changes.unchanged_since("ann", 190.0)
    assert changes.unchanged_since("ann", 201.0)


def test_of_too_many_changes_the_oldest_are_replaced_by_a_later_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.stores.changes._MOST", 2)
    changes = listening(100.0)
    for moment, name in enumerate(("ann", "bob", "eve"), 110):
        changes.changed(name)
        changes.date(changes.pending(), moment)
    assert not changes.unchanged_since("ann", 109.0)
    assert not changes.unchanged_since("zoe", 109.0)
    assert changes.unchanged_since("ann", 111.5)
    assert not changes.unchanged_since("eve", 111.5)
