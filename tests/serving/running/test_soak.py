"""Mixed traffic for a while, with promotions in between: memory, descriptors and connections stay as they are."""

import asyncio
import os
from dataclasses import dataclass

import psutil
import pytest

from tests.serving.running.open_loop import OpenLoop, refusals
from tests.serving.running.shop import RunningShop
from tests.serving.running.traffic import mixed

pytestmark = pytest.mark.anyio
MEGABYTE = 2**20


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
