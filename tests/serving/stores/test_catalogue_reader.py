"""The catalogue follows the database, row by row."""

import asyncio
from typing import Any

from sqlalchemy import Engine

from infra.database.engine import engine as engine_of
from serving.stores.catalogue import CatalogueReader
from serving.stores.postgres import Postgres
from tests.serving.made_up_shop import ITEMS, stock, write


def test_changed_rows_alone_are_read_again(database: str) -> None:
    engine = engine_of(database)
    stock(engine)
    asyncio.run(_follow(database, engine))
    engine.dispose()


class Counting(Postgres):
    """Counts the rows that were read."""

    rows = 0

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        found = await super().fetch(statement, *arguments)
        self.rows += len(found)
        return found


async def _follow(url: str, engine: Engine) -> None:
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

    await asyncio.to_thread(change, "price = 7 WHERE item_id = 'item-03'")
    postgres.rows = 0
    assert await reader.refresh()
    assert postgres.rows == 3
    assert reader.current.by_id["item-03"].price == 7
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
