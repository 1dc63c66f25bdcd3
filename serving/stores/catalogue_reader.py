"""Reads the catalogue from Postgres: all of it once, then the rows that changed."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from serving.stores.catalogue import Catalogue, Item, items_of
from serving.stores.database.postgres import Postgres

_STATEMENT: Final = """
SELECT item_id, title, url, image, price, currency, coalesce(category, ''), coalesce(brand, ''), available,
       in_stock, coalesce(extract(epoch FROM available_from)::float8, '-infinity'),
       coalesce(extract(epoch FROM available_until)::float8, 'infinity'),
       coalesce(extract(epoch FROM first_seen_at)::float8, '-infinity')
FROM items LEFT JOIN item_appearances USING (item_id) WHERE items.xmin::text::bigint >= $1
"""
_STATE: Final = """
SELECT count(*), extract(epoch FROM clock_timestamp())::float8, pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM items
"""
_EPOCH: Final = 1 << 32
"""Transaction ids on rows have 32 bits; a row of an earlier epoch may have a higher one."""


class KnownCatalogue(NamedTuple):
    """A catalogue that was read before."""

    catalogue: Catalogue
    floor: int
    """Rows that a transaction from here on wrote may be new."""


class CatalogueReader:
    """Holds the newest catalogue that was read."""

    def __init__(self, postgres: Postgres, known: KnownCatalogue | None = None) -> None:
        """Read through these connections, after a `known` catalogue only changes."""
        self._postgres = postgres
        self.current, self._floor = known or KnownCatalogue(Catalogue.of({}, 0.0), 0)
        self.read = False
        """Whether it was read at all."""

    @property
    def known(self) -> KnownCatalogue:
        """Return what was read, for another reader of the same database."""
        return KnownCatalogue(self.current, self._floor)

    async def refresh(self) -> bool:
        """Read changed rows, and follow the dates of items; return whether anything changed.

        Raises PostgresDownError; then the last catalogue stays.
        """
        # The floor is read before the rows: a transaction that commits in between is read now, and once more.
        _, now, floor = (await self._postgres.fetch(_STATE))[0]
        before = self.current
        since = self._floor if floor // _EPOCH == self._floor // _EPOCH and before.by_id else 0
        rows = await self._postgres.fetch(_STATEMENT, since % _EPOCH)
        items = await asyncio.to_thread(_merged, before.by_id, rows) if since else None
        number = (await self._postgres.fetch(_STATE))[0][0]
        if items is None or number != len(items):  # the first time, and after items were deleted
            rows = rows if not since else await self._postgres.fetch(_STATEMENT, 0)
            items = await asyncio.to_thread(items_of, rows)
        self.current = await asyncio.to_thread(_at, before, items, now)
        self._floor, self.read = floor, True
        return self.current is not before


def _merged(known: dict[str, Item], rows: Sequence[Any]) -> dict[str, Item]:
    """Return the known items with those of the rows; the same object if nothing is different."""
    changed = {name: item for name, item in items_of(rows).items() if known.get(name) != item}
    return known | changed if changed else known


def _at(before: Catalogue, items: dict[str, Item], now: float) -> Catalogue:
    return before.at(now) if items is before.by_id or items == before.by_id else Catalogue.of(items, now)
