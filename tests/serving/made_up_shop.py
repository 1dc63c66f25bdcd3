"""A made-up shop for tests of serving: a champion in memory, and a database with its lists."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import Engine, text

from infra.bundles.bundle import Bundle
from models.lists.rules.placement_config import Placement
from models.recommenders.baselines.most_popular import Config, MostPopular
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from serving.answers.protocol import (
    Answer,
    Entry,
    Hidden,
    Listing,
    ListRequest,
    LiveScorer,
    LiveUnavailableError,
    RankRequest,
    Visitor,
)
from serving.answers.service import AnswerService
from serving.model.loaded_model import LoadedModel
from serving.stores.lists import Standing
from serving.stores.rules import LayeredPlacements
from serving.stores.stores import Stores
from tests.published import published, shelf

ITEMS = [f"item-{number:02}" for number in range(30)]
"""The best seller first."""
ANN, BOB, EVE, NEW = "a" * 64, "b" * 64, "e" * 64, "f" * 64
"""Ann and Bob consent, Eve does not, and the newcomer has no list."""
PLACEMENTS = {
    "home": Placement(k=10),
    "again": Placement(k=10, policy="repurchase"),
    "similar-items": Placement(subject="item", method="similarity", k=5),
}
LIST = [("item-20", 0.9, "Picked by the shop"), ("item-21", 0.8, "You may like this"), ("item-22", 0.7, "x")]


@dataclass(frozen=True)
class Model:
    """A champion as the holder gives it."""

    bundle: Bundle
    model_version: int | None = 1
    promotion_id: int | None = 1


@dataclass
class Holder:
    """Holds a champion that a test replaces."""

    model: Model | None

    def current(self) -> LoadedModel | None:
        return self.model


class MemoryScorer:
    """A live scorer that shows the last items, and wants requests with a context."""

    def __init__(self) -> None:
        self.asked: list[tuple[ListRequest, Standing]] = []
        self.overloaded = False
        self.hides = Hidden(frozenset(), complete=True)

    async def hidden(self, _request: ListRequest) -> Hidden:
        return self.hides

    def wanted(self, request: ListRequest) -> bool:
        return bool(request.context)

    async def recommend(self, request: ListRequest, standing: Standing) -> Listing | None:
        self.asked.append((request, standing))
        if self.overloaded:
            raise LiveUnavailableError
        chosen = [name for name in reversed(ITEMS) if name not in request.context]
        return Listing(tuple(Entry(name, 1.0, "live") for name in chosen), 1)

    async def similar(self, item: str, request: ListRequest, standing: Standing) -> Listing | None:
        assert item in ITEMS
        return await self.recommend(request, standing)

    async def goes_with(self, items: tuple[str, ...], request: ListRequest, standing: Standing) -> Listing | None:
        assert set(items) <= set(ITEMS)
        return await self.recommend(request, standing)

    async def rank(self, request: RankRequest, _standing: Standing) -> Listing | None:
        if self.overloaded:
            raise LiveUnavailableError
        return Listing(tuple(Entry(name, 1.0, "live") for name in reversed(request.items)), 1)


def champion(version: int = 1, *, reverse: bool = False) -> Model:
    """Return a model whose best sellers are `ITEMS` in order; the segment of Bob and the newcomer likes the last."""
    items, users = np.array(ITEMS), np.array(sorted((ANN, BOB, EVE, NEW)))
    sales = np.arange(len(ITEMS), 0, -1, dtype=np.float32)
    sales = sales[::-1].copy() if reverse else sales
    buyers = (sales * 3).astype(np.int32)
    segments = SegmentPopular(
        config=BY_TRAITS,
        users=users,
        items=items,
        names=np.array(["", "group_1"]),
        segment=np.array([0, 1, 0, 1], dtype=np.int32),
        popularity=np.stack([sales, sales[::-1]]),
        buyers=buyers,
        demographics=None,  # type: ignore[arg-type]
    )
    model = MostPopular(Config(), users, items, sales, buyers)
    manifest: Any = SimpleNamespace(dataset_version="v1")
    available = np.ones(len(items), dtype=bool)
    return Model(Bundle(model, sales, buyers, available, segments, manifest, f"digest {version}"), version, version)


def stock(engine: Engine) -> None:
    """Put items, users and lists into a database."""
    items = [{"id": name, "title": f"Title of {name}"} for name in ITEMS]
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO items (item_id, title, category, brand, price, currency, attributes, available, batch_id) "
                "VALUES (:id, :title, 'FOOD|TEA', 'Acme', 2.5, 'EUR', '{}', true, 'b')"
            ),
            items,
        )
        users = [{"key": key, "consent": key != EVE} for key in (ANN, BOB, EVE, NEW)]
        connection.execute(
            text(
                "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
                "VALUES (:key, '{}', :consent, 'test', 'b')"
            ),
            users,
        )
        connection.execute(text("UPDATE items SET category = 'DRINKS', price = 9 WHERE item_id = 'item-29'"))
    published(engine, {ANN: LIST, BOB: LIST[::-1]}, shelf(k=3))
    published(engine, {"item-00": LIST[:2]}, shelf("similar", "similar-items", k=2, about="item"))


def write(engine: Engine, statement: str, **values: Any) -> None:
    """Run one statement."""
    with engine.begin() as connection:
        connection.execute(text(statement), values)


@asynccontextmanager
async def serving(
    url: str, redis_url: str | None = None, live: LiveScorer | None = None, holder: Holder | None = None, **options: Any
) -> AsyncIterator[AnswerService]:
    """Run a service as a process does; requests are more patient, because machines of tests are busy."""
    stores = Stores(url, redis_url, **({"request_seconds": 3.0, "redis_seconds": 3.0} | options))
    placements = LayeredPlacements(PLACEMENTS, stores.rules)
    service = AnswerService(holder or Holder(champion()), placements, stores, live)
    async with stores.running(), service.running():
        yield service


def request(user: str | None = ANN, k: int = 3, placement: str = "home", **others: Any) -> ListRequest:
    """Return the request of a user, or of an anonymous visitor."""
    return ListRequest(placement, Visitor(user), k, **others)


def ids(answer: Answer) -> list[str]:
    """Return the items of an answer."""
    return [item.item_id for item in answer.items]


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> float:
    """Wait for a condition; return the seconds. Raises TimeoutError."""
    clock = asyncio.get_running_loop().time
    started = clock()
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if asyncio.iscoroutine(met):
                met = await met
            if met:
                return clock() - started
            await asyncio.sleep(0.01)


async def becomes(
    service: AnswerService, asked: ListRequest, holds: Callable[[Answer], bool], seconds: float = 5.0
) -> float:
    """Wait for an answer to a request for which something holds; return the seconds."""

    async def is_there() -> bool:
        return holds(await service.recommend(asked))

    return await until(is_there, seconds)
