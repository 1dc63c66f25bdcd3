"""One load per key, in one process and across processes, with each cache."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from serving.stores import shared_loads
from serving.stores.redis_store import RedisStore
from serving.stores.shared_loads import CircuitBreaker, Loaded, SharedLoads, cache_key

pytestmark = pytest.mark.anyio


class Source:
    """Counts loads that take a while."""

    def __init__(self, seconds: float = 0.0, *, keep: bool = True) -> None:
        self.loads, self._seconds, self._keep = 0, seconds, keep

    async def __call__(self) -> Loaded:
        self.loads += 1
        number = self.loads
        await asyncio.sleep(self._seconds)
        return Loaded(b"value %d" % number, self._keep)


async def test_processes_share_a_load_through_redis(redis: Any) -> None:
    source = Source(0.05)
    # Each has its own connections and flights, as processes have.
    processes = [SharedLoads(RedisStore(redis.url, 3.0), patience_seconds=5) for _ in range(4)]
    values = await asyncio.gather(*(one.get("hot", source) for one in processes * 100))
    assert set(values) == {b"value 1"}
    assert source.loads == 1
    assert await processes[0].get("hot", source) == b"value 1"
    for one in processes:
        await one.close()


async def test_a_process_that_dies_while_it_loads_holds_others_up_for_a_moment(redis: Any) -> None:
    dead, source = RedisStore(redis.url, 2.0), Source()
    assert (await dead.find_or_claim("hot")).claimed
    loads = SharedLoads(RedisStore(redis.url, 2.0))
    started = asyncio.get_running_loop().time()
    assert await loads.get("hot", source) == b"value 1"
    assert asyncio.get_running_loop().time() - started < 2
    await loads.close()
    await dead.close()


async def test_an_old_value_is_used_while_one_request_renews_it(redis: Any) -> None:
    source = Source(0.02)
    loads = SharedLoads(RedisStore(redis.url, 3.0), fresh_seconds=0.03, stale_seconds=30)
    assert await loads.get("key", source) == b"value 1"
    await asyncio.sleep(0.05)
    assert set(await asyncio.gather(*(loads.get("key", source) for _ in range(50)))) == {b"value 1"}
    await asyncio.sleep(0.05)
    assert await loads.get("key", source) == b"value 2"
    assert source.loads <= 3
    await loads.close()


async def test_an_error_reaches_all_who_wait_and_is_not_kept(redis: Any) -> None:
    loads, source = SharedLoads(RedisStore(redis.url, 3.0)), Source()

    async def broken() -> Loaded:
        await asyncio.sleep(0.01)
        raise OSError

    results = await asyncio.gather(*(loads.get("key", broken) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError] * 5
    assert await loads.get("key", source) == b"value 1"
    await loads.close()


async def test_an_old_value_outlives_errors_of_its_renewal(redis: Any) -> None:
    loads = SharedLoads(RedisStore(redis.url, 3.0), fresh_seconds=0.01, stale_seconds=30)
    await loads.get("key", Source())
    await asyncio.sleep(0.02)

    async def broken() -> Loaded:
        raise OSError

    for _ in range(3):
        assert await loads.get("key", broken) == b"value 1"
        await asyncio.sleep(0)
    await loads.close()


async def test_a_value_that_must_not_be_kept_is_loaded_each_time(redis: Any) -> None:
    loads, source = SharedLoads(RedisStore(redis.url, 3.0)), Source(keep=False)
    assert [await loads.get("key", source) for _ in range(2)] == [b"value 1", b"value 2"]
    await loads.close()


async def _get_many(loads: SharedLoads, source: Source, keys: Iterator[int]) -> list[float]:
    """Return the seconds of each of ten requests for other keys."""
    clock, seconds = asyncio.get_running_loop().time, []
    for _ in range(10):
        started = clock()
        await loads.get(f"key {next(keys)}", source)
        seconds.append(clock() - started)
    return seconds


async def test_a_redis_that_is_paused_stopped_flushed_or_full_costs_little_and_never_an_error(redis: Any) -> None:
    keys, source = itertools.count(), Source()
    store = RedisStore(redis.url)
    loads = SharedLoads(store)
    await loads.get("kept", source)
    redis.pause()
    try:
        seconds = await _get_many(loads, source, keys)
    finally:
        redis.go_on()
    assert max(seconds) < 0.5
    assert sorted(seconds)[4] < 0.02  # the breaker is open
    await _until_it_answers(loads, source, store, keys)
    redis.ask("FLUSHALL")
    before = source.loads
    assert await loads.get("kept", source)
    assert source.loads == before + 1
    redis.ask("CONFIG SET maxmemory 1")
    await _get_many(loads, source, keys)
    assert not store.breaker.is_open
    redis.ask("CONFIG SET maxmemory 0")
    redis.stop()
    await _get_many(loads, source, keys)
    redis.start()
    await _until_it_answers(loads, source, store, keys)
    await loads.close()


async def test_more_requests_than_connections_wait_for_one(redis: Any) -> None:
    store, source = RedisStore(redis.url, 3.0), Source()
    loads = SharedLoads(store)
    for _ in range(2):
        await asyncio.gather(*(loads.get(f"key {number}", source) for number in range(500)))
    assert source.loads == 500
    assert not store.breaker.is_open
    await loads.close()


async def _until_it_answers(loads: SharedLoads, source: Source, store: RedisStore, keys: Iterator[int]) -> None:
    async with asyncio.timeout(5):
        while store.breaker.is_open:
            await loads.get(f"key {next(keys)}", source)
            await asyncio.sleep(0.02)
    key = f"key {next(keys)}"
    value = await loads.get(key, source)
    assert await loads.get(key, source) == value


@pytest.mark.parametrize("user", ["1", "../x", "\x00", "\ud800", "a}:b", "'; DROP"])
def test_keys_hold_no_id(user: str) -> None:
    key = cache_key("home", 7, 2, "list", user)
    assert key.startswith("tailorbird:1:home:7:2:{")
    assert user == "1" or user not in key
    assert key.isascii()
    assert key != cache_key("home", 8, 2, "list", user)
    assert cache_key("home", 1, 1, "ab", "c") != cache_key("home", 1, 1, "a", "bc")


def test_after_failures_in_a_row_one_caller_at_a_time_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(shared_loads, "monotonic", lambda: now)
    breaker = CircuitBreaker(failures=3, seconds=1.0)
    for _ in range(2):
        assert breaker.allows()
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()
    now += 1.01
    assert breaker.allows()
    assert not breaker.allows()
    breaker.succeeded()
    for _ in range(5):  # failures between successes do not add up
        assert breaker.allows()
        breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open
