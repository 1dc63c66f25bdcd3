"""The pool of connections, lists read with the rights of the API's role, and one load per key in all processes."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL, Engine, make_url, text

from infra.configuration.settings import Settings
from infra.database.engine import engine as engine_of
from infra.services.database_access import logins, role_rights
from infra.services.embedded_postgres import EmbeddedPostgres
from models.errors import TailorbirdError
from serving.stores import shared_loads
from serving.stores.lists import NOBODY, BatchCodes, Listed, LiveBatches, PublishedLists
from serving.stores.postgres import Postgres, connection_options
from serving.stores.redis_store import RedisStore, cached_lists
from serving.stores.shared_loads import CircuitBreaker, Loaded, PostgresDownError, SharedLoads, cache_key
from tests.published import published, shelf
from tests.serving.made_up_shop import ANN, BOB, EVE, LIST, NEW, write

pytestmark = pytest.mark.anyio

HOLD = "SELECT pg_sleep($1)"


@asynccontextmanager
async def opened(url: str, size: int = 2, seconds: float = 3.0) -> AsyncIterator[Postgres]:
    postgres = Postgres(url, size, seconds)
    try:
        yield postgres
    finally:
        await postgres.close()


async def test_connections_are_bounded_and_used_again(database: str) -> None:
    async with opened(database) as postgres:
        own = "SELECT pg_backend_pid(), pg_sleep(0.01)"
        rows = await asyncio.gather(*(postgres.fetch(own) for _ in range(12)))
        assert len({row[0][0] for row in rows}) == 2


async def test_a_statement_that_takes_too_long_ends_at_the_limit_and_its_connection_is_replaced(database: str) -> None:
    async with opened(database, seconds=0.5) as postgres:
        await postgres.warm()
        clock = asyncio.get_running_loop().time
        started = clock()
        with pytest.raises(PostgresDownError):
            await postgres.fetch(HOLD, 30.0)
        assert clock() - started < 2
        assert [row[0] for row in await postgres.fetch("SELECT 7")] == [7]


async def test_a_connection_in_an_impossible_state_is_replaced(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torn: list[asyncpg.Connection] = []

    async def fetch(connection: asyncpg.Connection, *_: object) -> None:
        """Raise what asyncpg does if the server ended while a statement was prepared."""
        torn.append(connection)
        monkeypatch.undo()
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    async with opened(database) as postgres:
        monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)
        assert [row[0] for row in await postgres.fetch("SELECT 7")] == [7]
        assert torn[0].is_closed()


async def test_a_connection_that_was_closed_while_idle_is_replaced(database: str) -> None:
    async with opened(database) as postgres:
        await postgres.warm()
        others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() " + (
            "AND datname = current_database()"
        )
        await postgres.fetch(others)
        assert [(await postgres.fetch("SELECT 7"))[0][0] for _ in range(4)] == [7] * 4


async def test_a_request_that_is_cancelled_leaves_no_connection_behind(database: str) -> None:
    async with opened(database) as postgres:
        for _ in range(6):
            task = asyncio.create_task(postgres.fetch(HOLD, 30.0))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await postgres.fetch("SELECT 7"))[0][0] == 7


async def test_a_closed_port_is_reported_at_once() -> None:
    async with opened("postgresql://nobody@127.0.0.1:9/none") as postgres:
        clock = asyncio.get_running_loop().time
        started = clock()
        for _ in range(20):
            with pytest.raises(PostgresDownError):
                await postgres.fetch("SELECT 1")
        assert clock() - started < 1
        assert postgres.breaker.is_open


async def test_a_refused_statement_does_not_end_the_connection(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(database, size=1) as postgres:
        with pytest.raises(PostgresDownError):
            await postgres.fetch("SELECT $1::int / 0", 12345)
        assert (await postgres.fetch("SELECT 7"))[0][0] == 7
    assert "DivisionByZeroError" in caplog.text
    assert "12345" not in caplog.text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgres://me:pa%40ss@db:5433/shop", "postgresql://me:pa%40ss@db:5433/shop"),
        (
            "postgresql+psycopg2://me@db/shop?sslmode=require&connect_timeout=5",
            "postgresql://me@db/shop?sslmode=require",
        ),
    ],
)
def test_addresses_of_every_form_are_translated(address: str, expected: str) -> None:
    assert make_url(connection_options(address)["dsn"]) == make_url(expected)


class Counting(Postgres):
    """Counts the statements."""

    statements = 0

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        self.statements += 1
        return await super().fetch(statement, *arguments)


class FailingOnce(Postgres):
    """Fails in a way that nobody foresaw."""

    failed = False

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        if not self.failed:
            self.failed = True
            raise ZeroDivisionError
        return await super().fetch(statement, *arguments)


@pytest.fixture
def url(stocked: tuple[str, Engine]) -> str:
    return stocked[0]


async def test_no_request_waits_for_a_read_that_failed_in_whatever_way(url: str) -> None:
    postgres = FailingOnce(url, 2, 5.0)
    lists = PublishedLists(postgres, BatchCodes(postgres, postgres))
    async with asyncio.timeout(20):
        failed = await asyncio.gather(*(lists.read("home", ANN) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in failed] == [ZeroDivisionError] * 3
        assert (await lists.read("home", ANN)).entries is not None
    await postgres.close()


async def test_the_lists_of_all_who_wait_are_read_by_few_statements(url: str) -> None:
    postgres = Counting(url, 2, 5.0)
    codes = BatchCodes(postgres, postgres)
    lists = PublishedLists(postgres, codes)
    await LiveBatches(postgres, codes).refresh()
    postgres.statements = 0
    users = [ANN, BOB, EVE, NEW, *(f"{n:064}" for n in range(60))]
    found = await asyncio.gather(*(lists.read("home", user) for user in users * 3))
    assert postgres.statements <= 3
    by_user = dict(zip(users, found, strict=False))
    assert by_user[ANN].standing.consented
    assert len(by_user[ANN].entries or ()) == len(LIST)
    eve = by_user[EVE]
    assert (eve.entries, eve.standing.known, eve.standing.consented) == (None, True, False)
    assert (by_user[NEW].entries, by_user[NEW].standing.consented) == (None, True)
    assert by_user[f"{7:064}"].standing == NOBODY
    await postgres.close()


async def test_suppressed_users_have_no_list_and_exclusions_come_with_the_standing(url: str) -> None:
    engine = engine_of(url)
    write(engine, "INSERT INTO suppressions (user_key, reason) VALUES (:key, 'erased')", key=BOB)
    write(engine, "INSERT INTO exclusions (user_key, kind, value) VALUES (:key, 'category', 'A|B')", key=ANN)
    postgres = Postgres(url, 2, 5.0)
    lists = PublishedLists(postgres, BatchCodes(postgres, postgres))
    bob, ann, item = await asyncio.gather(
        lists.read("home", BOB), lists.read("home", ANN), lists.read("similar-items", "item-00")
    )
    assert (bob.entries, bob.standing.consented) == (None, False)
    assert ann.standing.excluded == ("category:A|B",)
    assert item.entries is not None
    assert (await lists.read("nowhere", ANN)).batch_id is None
    await postgres.close()


def _texts(listed: Listed) -> list[tuple[str, str]]:
    return [(item, reason) for item, _, reason in listed.entries or ()]


async def test_codes_are_resolved_also_for_a_batch_that_is_not_in_memory(url: str) -> None:
    postgres = Counting(url, 2, 5.0)
    codes = BatchCodes(postgres, postgres)
    live = LiveBatches(postgres, codes)
    lists = PublishedLists(postgres, codes)
    stored = await lists.read("home", ANN)
    assert stored.batch_id is not None
    assert _texts(stored) == [(item, reason) for item, _, reason in LIST]
    await live.refresh()
    assert live.by_placement["home"].batch_id == stored.batch_id
    postgres.statements = 0
    assert _texts(await lists.read("home", ANN)) == _texts(stored)
    of_worker = BatchCodes(postgres, postgres, codes.known)
    await of_worker.load([stored.batch_id])
    assert _texts(await PublishedLists(postgres, of_worker).read("home", ANN)) == _texts(stored)
    assert postgres.statements == 2, "no statement but those of the lists"
    await of_worker.load([0])
    assert dict(of_worker.known[0].items) == {}, "no batch has this number"
    await asyncio.to_thread(published, engine_of(url), {ANN: LIST}, shelf("next", k=3))
    await live.refresh()
    assert stored.batch_id not in codes.known
    await postgres.close()


async def test_the_role_of_the_api_reads_lists_by_their_subject_and_not_the_table(
    url: str, postgres: EmbeddedPostgres, own_var: Any
) -> None:
    settings, own = Settings(var=own_var), make_url(url)
    role_rights.ensure(settings, make_url(postgres.url()), own, lambda _: None)
    login: URL = logins.login(settings, "serving", own)
    address = login.render_as_string(hide_password=False)
    role = Postgres(address, 2, 5.0)
    codes = BatchCodes(role, role)
    assert (await PublishedLists(role, codes).read("home", ANN)).entries is not None
    await LiveBatches(role, codes).refresh()
    await role.close()
    engine = engine_of(address)
    with engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
        connection.execute(text("SELECT * FROM recommendations"))
    engine.dispose()


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


async def test_the_lists_of_users_are_counted_in_redis_whatever_batch_they_are_of(redis: Any) -> None:
    for placement, batch in (("home", 1), ("home", 2), ("cart", 3)):
        redis.ask(f"SET {cache_key(placement, batch, 7, 'list', ANN)} list")
    redis.ask(f"SET {cache_key('home', 1, 7, 'list', BOB)} list")
    assert [cached_lists(redis.url, users) for users in ([ANN], [BOB], [ANN, BOB, EVE], [EVE], [])] == [3, 1, 4, 0, 0]
    with pytest.raises(TailorbirdError, match="Redis does not answer"):
        cached_lists("redis://127.0.0.1:9/0", [ANN])


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


async def test_an_error_reaches_all_who_wait_and_is_not_kept_and_an_old_value_outlives_it(redis: Any) -> None:
    loads, source = SharedLoads(RedisStore(redis.url, 3.0), fresh_seconds=0.01, stale_seconds=30), Source()

    async def broken() -> Loaded:
        await asyncio.sleep(0.01)
        raise OSError

    results = await asyncio.gather(*(loads.get("key", broken) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [OSError] * 5
    assert await loads.get("key", source) == b"value 1"
    await asyncio.sleep(0.02)
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
