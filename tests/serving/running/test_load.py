"""A hot key, revoked keys, the monitor's report, and a soak, while every process answers."""

import asyncio
import os
import time
from collections import Counter
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
