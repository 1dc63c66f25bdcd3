"""Opens all stores of a process, and keeps them current."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from serving.stores.catalogue import CatalogueReader, KnownCatalogue
from serving.stores.changes import HEARTBEAT_TIMEOUT_SECONDS, Changes
from serving.stores.experiments import Experiments
from serving.stores.lists import FIRST, BatchCodes, CodeTexts, LiveBatches, PublishedLists, UserLists
from serving.stores.postgres import Postgres
from serving.stores.refresher import Refresher, meanwhile
from serving.stores.rules import RuleReader
from serving.stores.shared_loads import PATIENCE_SECONDS, REDIS_SECONDS, SharedLoads

_CATALOGUE_SECONDS: Final = 10.0
_POINTER_SECONDS: Final = 3.0
_RULE_SECONDS: Final = 1.0
"""The time until new rules of operators, and the end of an experiment, are noticed without a notification."""
_BACKGROUND_SECONDS: Final = 20.0
_START_SECONDS: Final = 2.0
REQUEST_SECONDS: Final = 0.1
"""A request waits so long for Postgres before a later part of the chain answers it."""


class Stores:
    """What answers are read from, when there is a database."""

    def __init__(
        self,
        database_url: str,
        redis_url: str | None = None,
        cache_seconds: float = 60.0,
        connections: int = 6,
        heartbeat_timeout: float = HEARTBEAT_TIMEOUT_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
        redis_seconds: float = REDIS_SECONDS,
        rules_copy: Path | None = None,
        catalogue: KnownCatalogue | None = None,
        codes: Mapping[int, CodeTexts] = MappingProxyType({}),
    ) -> None:
        """Prepare; `running` opens connections. `connections` are those for requests, which wait `request_seconds`.

        Of a `catalogue` that was read before, only changes are read, and of live batches those without `codes`.
        """
        self.requests = Postgres(database_url, connections, request_seconds, FIRST)
        self.background = Postgres(database_url, 2, _BACKGROUND_SECONDS)
        self.changes = Changes(database_url, heartbeat_timeout)
        self.codes = BatchCodes(self.requests, self.background, codes)
        self.live = LiveBatches(self.background, self.codes)
        self.catalogue = CatalogueReader(self.background, catalogue)
        self.rules = RuleReader(self.background, rules_copy)
        self.experiments = Experiments(self.requests, self.background)
        self._loads = _shared_loads(redis_url, cache_seconds, redis_seconds) if redis_url else None
        self.lists = UserLists(PublishedLists(self.requests, self.codes), self.live, self._loads, self.changes)
        self._refreshers = {
            "items": Refresher(self.catalogue.refresh, _CATALOGUE_SECONDS),
            "placements": Refresher(self.live.refresh, _POINTER_SECONDS),
            "operator_rules": Refresher(self.rules.refresh, _RULE_SECONDS),
            "experiments": Refresher(self.experiments.refresh, _RULE_SECONDS),
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep everything current meanwhile. Without a database it starts after two seconds all the same."""
        await asyncio.to_thread(self.rules.read_copy)
        self.changes.on_users(self.experiments.forget)
        for table, refresher in self._refreshers.items():
            self.changes.on(table, refresher.wake)
        try:
            async with meanwhile(self.changes.run(), *(one.run() for one in self._refreshers.values())):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_START_SECONDS):
                        await self._first_reads()
                yield
        finally:
            if self._loads is not None:
                await self._loads.close()
            await self.requests.close()
            await self.background.close()

    async def _first_reads(self) -> None:
        await self.requests.warm()
        while not (self.changes.connected and self.catalogue.read and self.live.read and self.rules.read):
            await asyncio.sleep(0.01)


def _shared_loads(redis_url: str, cache_seconds: float, redis_seconds: float) -> SharedLoads:
    from serving.stores.redis_store import RedisStore  # its import takes a tenth of a second

    patience = max(PATIENCE_SECONDS, 2 * redis_seconds)
    return SharedLoads(RedisStore(redis_url, redis_seconds), cache_seconds, patience_seconds=patience)
