"""Whatever fails behind the API, every request is answered, and messages survive. MLflow and the lake never exist."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pytest

from tests.serving.running.shop import PATIENCE, USERS, RunningShop
from tests.serving.running.traffic import OpenLoop, Reply, Request, mixed, refusals

pytestmark = pytest.mark.anyio
RATE = 40


def nothing() -> None:
    """Do nothing."""


@contextmanager
def failing(shop: RunningShop, fault: str) -> Iterator[None]:
    """Let a dependency fail meanwhile."""
    redis, postgres = shop.redis, shop.postgres
    begins, ends = {
        "redis stopped": (redis.stop, redis.start),
        "redis paused": (redis.pause, redis.go_on),
        "redis flushed": (lambda: redis.ask("FLUSHALL"), nothing),
        "redis full": (lambda: redis.ask("CONFIG SET maxmemory 1"), lambda: redis.ask("CONFIG SET maxmemory 0")),
        "postgres stopped": (lambda: postgres.stop(signal.SIGINT), postgres.start),
        "postgres crashed": (lambda: postgres.stop(signal.SIGQUIT), postgres.start),
        "postgres restarted": (lambda: (postgres.stop(signal.SIGINT), postgres.start()), nothing),
        "postgres paused": (nothing, nothing),
    }[fault]
    with postgres.paused() if fault == "postgres paused" else nullcontext():
        begins()
        yield
        ends()


SHORT = ("redis paused", "postgres crashed")
"""The suite has these; the storms have all."""
LONG = ("redis stopped", "redis flushed", "redis full", "postgres stopped", "postgres restarted", "postgres paused")


class Traffic:
    """Traffic in the background, and what became of it."""

    def __init__(self, shop: RunningShop) -> None:
        self.client = OpenLoop(shop.server.address, shop.key)

    async def run(self, items: list[str]) -> None:
        make = mixed(items)
        while True:
            await self.client.send(RATE, 0.5, make)

    @property
    def replies(self) -> list[Reply]:
        return self.client.replies

    @property
    def receipts(self) -> list[str]:
        """Return the ids of the messages that are durable."""
        accepted = [one for one in self.replies if one.status == 202 and one.request.path == "/v1/feedback"]
        return [str(reply.json()["message_id"]) for reply in accepted]

    def check(self) -> None:
        assert not set(refusals(self.replies)) - {429, 503}
        lists = [reply for reply in self.replies if reply.status == 200 and "recommendations" in reply.request.path]
        assert lists
        assert all(
            reply.json().get("items") or reply.json().get("lists") for reply in lists if "k=" in reply.request.path
        )


@asynccontextmanager
async def busy(shop: RunningShop) -> AsyncIterator[Traffic]:
    """Send mixed traffic meanwhile; afterwards check that no request ended with an error of the server."""
    traffic = Traffic(shop)
    task = asyncio.create_task(traffic.run(shop.items))
    try:
        yield traffic
        async with asyncio.timeout(PATIENCE):
            while len(traffic.replies) < 2 * RATE or not traffic.receipts:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        await traffic.client.close()
    assert isinstance(outcome, asyncio.CancelledError), outcome
    traffic.check()


async def asked(traffic: Traffic, user: str) -> dict[str, object]:
    reply = await traffic.client.one(Request(f"/v1/users/{user}/recommendations?k=7"))
    assert reply.status in (200, 503)
    return reply.json()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


async def usual(traffic: Traffic) -> None:
    """Wait until several answers in a row are personal and not degraded: both workers have recovered."""
    async with asyncio.timeout(PATIENCE):
        good = 0
        while good < 12:
            answer = await asked(traffic, USERS[good])
            good = good + 1 if answer.get("source") in ("cache", "table") and not answer["degraded"] else 0
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("fault", [*SHORT, *(pytest.param(one, marks=pytest.mark.faults) for one in LONG)])
async def test_a_dependency_that_fails_costs_no_answer_and_no_message(shop: RunningShop, fault: str) -> None:
    async with busy(shop) as traffic:
        await usual(traffic)
        failure = failing(shop, fault)
        await asyncio.to_thread(failure.__enter__)
        try:
            for number in range(20):
                assert "items" in await asked(traffic, USERS[number])
                await asyncio.sleep(0.05)
            if fault in ("postgres stopped", "postgres crashed", "postgres paused"):
                await _degraded(traffic)
        finally:
            await asyncio.to_thread(failure.__exit__, None, None, None)
        await usual(traffic)
    await _stored(shop, traffic)


async def _degraded(traffic: Traffic) -> None:
    """Wait until answers depend on no person, as when consent cannot be checked."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await asked(traffic, USERS[0])
            if answer.get("degraded") and answer["source"] in ("popular", "segment"):
                return
            await asyncio.sleep(0.05)


async def _stored(shop: RunningShop, traffic: Traffic) -> None:
    """Check that every message with a receipt is in the inbox, also those that waited on disk."""
    receipts = set(traffic.receipts)
    stored = "SELECT count(*) FROM event_inbox WHERE message_id = ANY(:ids)"
    await until(lambda: shop.rows(stored, ids=list(receipts))[0][0] == len(receipts))


def refused(text: str) -> float:
    lines = [line for line in text.splitlines() if line.startswith("tailorbird_model_reload_failures_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_a_bad_champion_is_refused_and_a_good_one_shows_without_a_failed_request(shop: RunningShop) -> None:
    async with busy(shop) as traffic:

        async def versions() -> set[object]:
            replies = await asyncio.gather(*(traffic.client.one(Request("/v1/popular?k=3")) for _ in range(20)))
            return {reply.json().get("model_version") for reply in replies if reply.status == 200}

        async def metric() -> float:
            return refused((await traffic.client.one(Request("/metrics"))).body.decode())

        (before,) = await versions()
        for name in ("corrupted", "unsigned", "nan", "same"):
            failures = await metric()
            shop.champions.promote(name)
            async with asyncio.timeout(PATIENCE):
                while await metric() < failures + len(shop.workers):
                    await asyncio.sleep(0.1)
            assert await versions() == {before}
        good = shop.champions.promote("second")
        async with asyncio.timeout(PATIENCE):
            while await versions() != {good}:
                await asyncio.sleep(0.1)
        hidden = str((await traffic.client.one(Request("/v1/popular?k=1"))).json()["items"][0]["item_id"])  # type: ignore[index]
        reply = await traffic.client.one(Request(f"/v1/items/{hidden}", "PATCH", {"in_stock": False}))
        assert reply.status == 202
        # The inbox moves it into the catalogue; that is the reconciler's work, which this shop does not run.
        shop.execute("UPDATE items SET in_stock = false WHERE item_id = :item", item=hidden)
        async with asyncio.timeout(PATIENCE):
            while any(hidden in reply.body.decode() for reply in await _popular(traffic)):
                await asyncio.sleep(0.1)
        shop.execute("UPDATE items SET in_stock = true WHERE item_id = :item", item=hidden)


async def _popular(traffic: Traffic) -> list[Reply]:
    return await asyncio.gather(*(traffic.client.one(Request("/v1/popular?k=20")) for _ in range(10)))
