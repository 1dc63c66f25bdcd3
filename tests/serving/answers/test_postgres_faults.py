"""Answers while PostgreSQL stops, crashes, hangs and comes back: always an answer, and soon."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import Engine

from infra.services.embedded_postgres import EmbeddedPostgres
from models.lists.rules.layer.rule_layer import HiddenItem
from serving.answers.answer import Answer
from serving.answers.request import ListRequest, Visitor
from serving.answers.service import AnswerService
from tests.serving.faulty_postgres import FaultyPostgres
from tests.serving.made_up_shop import ANN, BOB, ITEMS, NEW, becomes, serving, until, write
from tests.serving.operator_rules import pin, store

HOME, ANONYMOUS = ListRequest("home", Visitor(ANN), 3), ListRequest("home", Visitor(), 3)
SIMILAR = ListRequest("similar-items", Visitor(), 3)
HEARTBEAT_TIMEOUT_SECONDS = 1.5


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Iterator[FaultyPostgres]:
    found = FaultyPostgres(postgres)
    yield found
    found.start()


def run(url: str, scenario: Callable[[AnswerService], Awaitable[None]], seconds: float = 3.0) -> None:
    async def main() -> None:
        async with serving(url, heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS, request_seconds=seconds) as service:
            await scenario(service)

    asyncio.run(main())


async def timed(answer: Awaitable[Answer]) -> tuple[Answer, float]:
    clock = asyncio.get_running_loop().time
    started = clock()
    return await answer, clock() - started


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_stops_degrades_answers_and_its_return_is_noticed(
    stocked: tuple[str, Engine], server: FaultyPostgres, by: signal.Signals
) -> None:
    async def scenario(service: AnswerService) -> None:
        before = await service.recommend(HOME)
        assert before.source == "table"
        await service.similar("item-00", SIMILAR)
        await asyncio.to_thread(server.stop, by)
        bob, seconds = await timed(service.recommend(ListRequest("home", Visitor(BOB), 3)))
        assert (bob.source, bob.degraded, bob.personal) == ("popular", True, False)
        assert seconds < 1
        assert await becomes(service, HOME, lambda one: not one.personal) < HEARTBEAT_TIMEOUT_SECONDS + 1
        answer, seconds = await timed(service.recommend(HOME))
        assert (answer.source, answer.degraded, [item.item_id for item in answer.items]) == ("popular", True, ITEMS[:3])
        assert seconds < 0.2
        similar = await service.similar("item-00", SIMILAR)
        assert (similar.source, similar.degraded) == ("cache", True)
        await asyncio.to_thread(server.start)
        await becomes(service, HOME, lambda one: (one.degraded, one.items) == (False, before.items), 10)

    run(stocked[0], scenario)


def test_a_server_that_hangs_costs_no_request_more_than_a_moment(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    async def scenario(service: AnswerService) -> None:
        await until(lambda: service.recommend(HOME))
        with server.paused():
            cold = [ListRequest("home", Visitor(f"{number:064}"), 3) for number in range(20)]
            results = [await timed(service.recommend(request)) for request in cold]
            assert all(answer.degraded and answer.items for answer, _ in results)
            assert max(seconds for _, seconds in results) < 0.35
            assert sum(seconds > 0.05 for _, seconds in results) <= 6  # then the circuit is open

            async def is_general() -> bool:
                answer, seconds = await timed(service.recommend(HOME))
                assert seconds < 0.35
                return not answer.personal

            assert await until(is_general) < HEARTBEAT_TIMEOUT_SECONDS + 1
        await becomes(service, HOME, lambda one: one.personal and not one.degraded, 10)

    run(stocked[0], scenario, seconds=0.1)


def test_consent_that_is_withdrawn_while_no_notification_arrives_is_not_missed(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    url, engine = stocked

    async def scenario(service: AnswerService) -> None:
        assert (await service.recommend(HOME)).personal
        changes = service._stored._stores.changes  # type: ignore[union-attr]
        listening = next(task for task in asyncio.all_tasks() if task.get_coro().cr_code is changes.run.__code__)  # type: ignore[union-attr]
        listening.cancel()
        await asyncio.to_thread(write, engine, "UPDATE users SET consent = false WHERE user_key = :key", key=ANN)
        await until(lambda: not changes.connected)
        assert not (await service.recommend(HOME)).personal
        general = await service.recommend(ANONYMOUS)
        assert general.degraded
        again = asyncio.create_task(changes.run())
        await until(lambda: changes.connected)
        answer = await service.recommend(HOME)
        assert (answer.personal, answer.degraded) == (False, False)
        again.cancel()

    run(url, scenario)
    assert server is not None


def test_a_service_that_starts_without_a_database_answers_and_finds_it_later(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    async def main() -> None:
        await asyncio.to_thread(server.stop, signal.SIGINT)
        async with serving(stocked[0], heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS) as service:
            answer = await service.recommend(HOME)
            assert (answer.source, answer.degraded, len(answer.items)) == ("popular", True, 3)
            await asyncio.to_thread(server.start)
            await becomes(service, HOME, lambda one: one.source in {"table", "cache"}, 15)

    asyncio.run(main())


def test_rules_of_operators_count_while_the_database_is_away(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    store(stocked[1], HiddenItem(item="item-00"), pin("item-09", 2))

    async def scenario(service: AnswerService) -> None:
        await asyncio.to_thread(server.stop, signal.SIGINT)
        await becomes(service, ListRequest("home", Visitor(NEW), 3), lambda one: one.degraded)
        answer = await service.recommend(ANONYMOUS)
        assert [item.item_id for item in answer.items] == ["item-01", "item-09", "item-02"]
        await asyncio.to_thread(server.start)

    run(stocked[0], scenario)
