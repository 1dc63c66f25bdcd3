"""Ten times the usual traffic, on a user whose list is in no cache."""

from collections import Counter

import pytest

from tests.serving.running.open_loop import OpenLoop, Reply, Request, refusals
from tests.serving.running.shop import USERS, WORKERS, RunningShop

pytestmark = pytest.mark.anyio
LOAD_SECONDS = 0.25
"""A read of a list takes so long, in which requests for it arrive."""


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
