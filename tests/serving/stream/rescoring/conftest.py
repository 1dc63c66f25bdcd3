"""A shop whose shelf `home` is live: a champion, published lists, and a user who agreed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.configuration.settings import Settings
from infra.installation import Installation
from infra.keys.identity import pseudonym
from serving.stream.consumer import opened_rescoring, settling
from serving.stream.rescoring.rescoring import Rescoring
from serving.stream.rescoring.updates import Update
from serving.stream.settlement import Settlement
from tests.published import published
from tests.serving.bundle_folders import offer, promote, write_bundle


@dataclass
class Broker:
    """Takes updates, or is down."""

    down: bool = False
    taken: list[dict[str, Any]] = field(default_factory=list)

    async def publish(self, updates: Sequence[Update]) -> None:
        if self.down:
            raise ConnectionError
        self.taken += [json.loads(one.body) for one in updates]


@dataclass
class LiveShop:
    """The installation, and the items of its champion."""

    here: Installation
    settings: Settings
    items: list[str]
    broker: Broker = field(default_factory=Broker)

    def key(self, user: str) -> str:
        return pseudonym(user, self.here.key)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.here.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def shelf(self, user: str = "ann") -> list[tuple[str, str]]:
        """The items that readers see for a user, and where they come from."""
        return self.listed("home", user)

    def listed(self, placement: str, user: str = "ann") -> list[tuple[str, str]]:
        """The same of any placement."""
        asked = (
            "SELECT item_id, source FROM recommendations_by_user_id WHERE user_id = :user AND placement = :placement"
        )
        return [
            (row.item_id, row.source) for row in self.rows(f"{asked} ORDER BY rank", user=user, placement=placement)
        ]

    def run(self, work: Callable[[Settlement, Rescoring], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.consumer() as (settlement, rescoring):
                await work(settlement, rescoring)

        asyncio.run(main())

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[tuple[Settlement, Rescoring]]:
        async with settling(self.settings, "bus") as settlement, opened_rescoring(self.settings) as rescoring:
            assert rescoring is not None
            settlement.rescoring = rescoring
            yield settlement, rescoring

    def due(self) -> None:
        """Let the pause of all requests be over."""
        self.rows("UPDATE rescoring_requests SET due_at = now()")


@pytest.fixture
def shop(tmp_path: Path, installation: Installation) -> Iterator[LiveShop]:
    file = tmp_path / "placements.toml"
    file.write_text("[home]\nk = 5\nlive = true\n[again]\nk = 5\npolicy = 'repurchase'\nlive = true\n[email]\nk = 5\n")
    settings = installation.settings.model_copy(update={"placements": str(file)})
    champion = tmp_path / "bundle", write_bundle(tmp_path / "bundle")
    made = LiveShop(installation, settings, offer(installation.engine, *champion))
    promote(installation.engine, *champion, version=3)
    people = {"ann": True, "bob": True, "eve": False}
    for user, agrees in people.items():
        made.rows(
            "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
            "VALUES (:key, '{}', :agrees, 'form', 'b')",
            key=made.key(user),
            agrees=agrees,
        )
        made.rows("INSERT INTO identity.users VALUES (:key, :user, 1)", key=made.key(user), user=user)
    first = [(item, 1.0 - place / 10, "Picked by the shop") for place, item in enumerate(made.items[-3:])]
    published(installation.engine, {made.key(user): first for user in ("ann", "bob")})
    yield made
    installation.engine.dispose()
