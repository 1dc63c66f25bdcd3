"""A hot key, revoked keys, a soak, and failures behind the API: every request is answered, and messages survive."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import psutil
import pytest

from infra.keys.recorded_api_keys import NewKey, create_key, revoke_key
from tasks.monitoring.drift.evaluate_window import serving_readings
from tasks.monitoring.serving_metrics import read
from tests.serving.running.shop import PATIENCE, USERS, WORKERS, RunningShop
from tests.serving.running.traffic import OpenLoop, Reply, Request, mixed, refusals

pytestmark = pytest.mark.anyio
LOAD_SECONDS = 0.25
"""A read of a list takes so long, in which requests for it arrive."""
CONNECTIONS = 24
"""So many that each worker has some of them."""
POPULAR = Request("/v1/popular?k=1")
MEGABYTE = 2**20
RATE = 40


def of(user: str) -> Request:
    return Request(f"/v1/users/{user}/recommendations?k=10")


def reads(shop: RunningShop) -> Counter[str]:
    """Return how often the list of each subject was read."""
    return Counter(row.subject for row in shop.rows("SELECT subject FROM test_reads WHERE subject <> ''"))


async def storm(shop: RunningShop, users: list[str], usual: float, seconds: float) -> list[Reply]:
    """Send the usual traffic, then ten times of it on a cold key; return the replies of the storm.

    No other test asks for the lists of these users. A process that waits too long for another one reads a list itself,
    and a read that takes too long on a busy machine is repeated.
    """
    client, hot, warm, cold = OpenLoop(shop.server.address, shop.key), users[0], users[1:11], users[11:]
    try:
        for user in warm:
            assert (await client.one(of(user))).status == 200
        assert not refusals(await client.send(usual, 1, lambda number: of(warm[number % len(warm)])))
        shop.execute("UPDATE test_delay SET seconds = :seconds", seconds=LOAD_SECONDS)
        shop.execute("TRUNCATE test_reads")
        # One request of ten is for one of twenty other users without a cached list.
        replies = await client.send(
            10 * usual, seconds, lambda number: of(cold[number // 10 % len(cold)] if number % 10 == 5 else hot)
        )
        counts = refusals(replies)
        assert set(counts) <= {429, 503}
        assert counts.total() < len(replies)
        after = await client.send(usual, 1, lambda number: of((hot, *cold)[number % (1 + len(cold))]))
        assert not refusals(after)
        assert {reply.json()["source"] for reply in after} <= {"cache", "table"}  # a table of Redis, without a read
        assert not any(reply.json()["degraded"] for reply in after)
        counts = reads(shop)
        assert counts.keys() == {shop.user_key(user) for user in (hot, *cold)}
        assert counts[shop.user_key(hot)] == 1
        assert max(counts.values()) <= WORKERS
        assert counts.total() <= 1.5 * len(counts)
    finally:
        await client.close()
        shop.execute("UPDATE test_delay SET seconds = 0")
    return replies


async def test_a_hot_key_is_read_once_by_all_processes_and_what_is_too_much_is_shed(shop: RunningShop) -> None:
    shop.redis.ask("FLUSHALL")
    replies = await storm(shop, USERS[40:71], usual=100, seconds=1.5)
    assert refusals(replies)[503] > 0  # more wait for the read than a process may answer at the same time


@pytest.mark.faults
async def test_half_a_minute_of_ten_times_the_traffic(shop: RunningShop) -> None:
    shop.redis.ask("FLUSHALL")
    replies = await storm(shop, USERS[71:], usual=100, seconds=30)
    assert len(replies) == 30_000


async def test_a_revoked_key_is_refused_within_a_second_in_every_process(shop: RunningShop) -> None:
    made = create_key(shop.engine, NewKey("till", ["read"]), "ann")
    clients = [OpenLoop(shop.server.address, str(made["key"])) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(_until(client, 200) for client in clients))
    await asyncio.to_thread(revoke_key, shop.engine, str(made["key_id"]), "ann")
    revoked = time.monotonic()
    last = await asyncio.gather(*(_until(client, 401) for client in clients))
    assert max(last) - revoked < 1
    for client in clients:
        assert (await client.one(POPULAR)).status == 401
        await client.close()


async def _until(client: OpenLoop, status: int) -> float:
    """Send requests on one connection until the status comes; return when the last other one left."""
    last = 0.0
    async with asyncio.timeout(PATIENCE):
        while True:
            left = time.monotonic()
            if (await client.one(POPULAR)).status == status:
                return last
            last = left
            await asyncio.sleep(0.01)


async def test_the_report_has_the_latency_and_the_errors_of_all_workers(shop: RunningShop) -> None:
    address = f"{shop.server.address}/metrics"
    settings = shop.installation.settings.model_copy(update={"metrics_url": address})
    before = read(settings, address)[0]
    client = OpenLoop(shop.server.address, shop.key)
    requests = [*(Request(f"/v1/users/{user}/recommendations") for user in USERS), Request("/v1/unknown")]
    replies = await client.send(200, len(requests) / 200, requests.__getitem__)
    await client.close()
    counted = read(settings, address)[0].since(before)
    assert counted.count == len(replies) + 1  # and the first look at the metrics
    assert counted.error_share == sum(reply.status >= 500 for reply in replies) / counted.count
    latency, errors = serving_readings(replace(shop.installation, settings=settings))
    assert (latency.signal, errors.signal) == ("serving latency", "serving errors")
    assert latency.value is not None
    assert errors.value is not None
    assert latency.value > 0
    assert 0 <= errors.value < 1
    assert (latency.high, errors.high) == (settings.serving_p99_ms, settings.serving_error_share)


@dataclass(frozen=True)
class Usage:
    """What the workers hold while no request is answered."""

    bytes_: int
    descriptors: int
    """Without connections to Redis: their pool grows up to its limit when requests come close together."""
    threads: int
    connections: int

    @classmethod
    def of(cls, shop: RunningShop) -> "Usage":
        own = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return cls(
            sum(worker.memory_info().rss for worker in shop.workers),
            sum(worker.num_fds() - _to_redis(shop, worker) for worker in shop.workers),
            sum(worker.num_threads() for worker in shop.workers),
            int(shop.rows(own)[0][0]),
        )


def _to_redis(shop: RunningShop, worker: psutil.Process) -> int:
    places = [one.raddr for one in worker.net_connections("tcp") if one.raddr]
    count = sum(place.port == shop.redis.port for place in places)
    assert count <= 64
    return count


async def soak(shop: RunningShop, rounds: int, rate: float, seconds: float) -> list[Usage]:
    """Send traffic in rounds, each with a promotion before it; return the usage after each."""
    client, make, usages = OpenLoop(shop.server.address, shop.key), mixed(shop.items), []
    for number in range(rounds):
        shop.champions.promote(("first", "second")[number % 2])
        assert not set(refusals(await client.send(rate, seconds, make))) - {429, 503}
        await client.close()
        await asyncio.sleep(1.5)  # connections close, and writers finish
        usages.append(Usage.of(shop))
        print(usages[-1], flush=True)
    return usages


async def test_a_burst_leaves_no_descriptor_thread_or_connection_behind(shop: RunningShop) -> None:
    first, _, last = await soak(shop, 3, rate=80, seconds=1)
    assert last.descriptors <= first.descriptors + 4
    assert last.threads <= first.threads + 12  # those of asyncio's two pools start when they are needed
    assert last.connections <= first.connections + 4


@pytest.mark.faults
async def test_minutes_of_traffic_leave_memory_as_it_is(shop: RunningShop) -> None:
    rounds = int(os.environ.get("SOAK_ROUNDS", "24"))
    usages = await soak(shop, rounds, rate=120, seconds=10)
    settled, last = usages[rounds // 3], usages[-1]
    assert last.bytes_ <= settled.bytes_ + 8 * MEGABYTE
    assert last.descriptors <= settled.descriptors + 4
    assert last.threads <= settled.threads + 4
    assert last.connections <= settled.connections + 2


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
