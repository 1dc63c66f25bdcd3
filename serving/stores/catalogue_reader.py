"""Reads the catalogue from Postgres: all of it once, then the rows that changed."""

import asyncio
from typing import Final

from serving.stores.catalogue import Catalogue, items_of
from serving.stores.database.postgres import Postgres

_STATEMENT: Final = """
SELECT item_id, title, url, image, price, currency, category, brand, available, in_stock,
       extract(epoch FROM available_from)::float8, extract(epoch FROM available_until)::float8
FROM items WHERE xmin::text::bigint >= $1
"""
_STATE: Final = """
SELECT count(*), extract(epoch FROM clock_timestamp())::float8, pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM items
"""
_EPOCH: Final = 1 << 32
"""Transaction ids on rows have 32 bits; a row of an earlier epoch may have a higher one."""


class CatalogueReader:
    """Holds the newest catalogue that was read."""

    def __init__(self, postgres: Postgres) -> None:
        """Read through these connections."""
        self._postgres = postgres
        self._floor = 0
        """Rows that a transaction from here on wrote may be new."""
        self.current = Catalogue.of({}, 0.0)
        self.read = False
        """Whether it was read at all."""

    async def refresh(self) -> bool:
        """Read changed rows, and follow the dates of items; return whether anything changed.

        Raises PostgresDownError; then the last catalogue stays.
        """
        # The floor is read before the rows: a transaction that commits in between is read now, and once more.
        _, now, floor = (await self._postgres.fetch(_STATE))[0]
        known = self.current.by_id
        since = self._floor if floor // _EPOCH == self._floor // _EPOCH and known else 0
        changed = items_of(await self._postgres.fetch(_STATEMENT, since % _EPOCH))
        items = changed if since == 0 else known | changed
        number = (await self._postgres.fetch(_STATE))[0][0]
        if number != len(items):  # items were deleted
            items = items_of(await self._postgres.fetch(_STATEMENT, 0))
        before = self.current
        if items == known:
            self.current = await asyncio.to_thread(before.at, now)
        else:
            self.current = await asyncio.to_thread(Catalogue.of, items, now)
        self._floor, self.read = floor, True
        return self.current is not before
