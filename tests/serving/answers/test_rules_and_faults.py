"""Answers while PostgreSQL fails, always and soon, and under rules of operators, from the next answer on."""

import asyncio
import signal
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pytest
from sqlalchemy import Engine

from infra.services.embedded_postgres import EmbeddedPostgres
from models.lists.rules.layer.rule_layer import NO_VERSION, HiddenItem, ItemBoost, RuleLayer, RuleVersion, layer_to_json
from serving.answers.chain import PresentRules, Search
from serving.answers.protocol import Answer, Entry, Hidden, Listing, ListRequest, RankRequest, Visitor
from serving.answers.selection import Selection
from serving.answers.service import AnswerService
from serving.stores.catalogue import Catalogue
from serving.stores.lists import Standing
from serving.stores.rules import LayeredPlacements
from tests.published import published, shelf
from tests.serving.conftest import FaultyPostgres
from tests.serving.made_up_shop import (
    ANN,
    BOB,
    ITEMS,
    NEW,
    PLACEMENTS,
    Holder,
    MemoryScorer,
    becomes,
    champion,
    ids,
    request,
    serving,
    until,
    write,
)
from tests.serving.operator_rules import boost, pin, store

pytestmark = pytest.mark.anyio
HOME, ANONYMOUS = ListRequest("home", Visitor(ANN), 3), ListRequest("home", Visitor(), 3)
SIMILAR = ListRequest("similar-items", Visitor(), 3)
HEARTBEAT_TIMEOUT_SECONDS = 1.5
TABLE = ["item-20", "item-21", "item-22"]


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Iterator[FaultyPostgres]:
    found = FaultyPostgres(postgres)
    yield found
    found.start()


async def timed(answer: Awaitable[Answer]) -> tuple[Answer, float]:
    clock = asyncio.get_running_loop().time
    started = clock()
    return await answer, clock() - started


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_server_that_stops_degrades_answers_and_its_return_is_noticed(
    stocked: tuple[str, Engine], server: FaultyPostgres, by: signal.Signals
) -> None:
    async with serving(stocked[0], heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS) as service:
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


async def test_a_server_that_hangs_costs_no_request_more_than_a_moment(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    async with serving(stocked[0], heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS, request_seconds=0.1) as service:
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


async def test_consent_that_is_withdrawn_while_no_notification_arrives_is_not_missed(
    stocked: tuple[str, Engine],
) -> None:
    url, engine = stocked
    async with serving(url, heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS) as service:
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


async def test_a_service_that_starts_without_a_database_answers_and_finds_it_later(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    await asyncio.to_thread(server.stop, signal.SIGINT)
    async with serving(stocked[0], heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS) as service:
        answer = await service.recommend(HOME)
        assert (answer.source, answer.degraded, len(answer.items)) == ("popular", True, 3)
        await asyncio.to_thread(server.start)
        await becomes(service, HOME, lambda one: one.source in {"table", "cache"}, 15)


async def test_rules_of_operators_count_while_the_database_is_away(
    stocked: tuple[str, Engine], server: FaultyPostgres
) -> None:
    store(stocked[1], HiddenItem(item="item-00"), pin("item-09", 2))

    async with serving(stocked[0], heartbeat_timeout=HEARTBEAT_TIMEOUT_SECONDS) as service:
        await asyncio.to_thread(server.stop, signal.SIGINT)
        await becomes(service, ListRequest("home", Visitor(NEW), 3), lambda one: one.degraded)
        answer = await service.recommend(ANONYMOUS)
        assert [item.item_id for item in answer.items] == ["item-01", "item-09", "item-02"]
        await asyncio.to_thread(server.start)


class Scorer(MemoryScorer):
    """A live scorer that only knows what the rules hide because of events."""

    def __init__(self, *hidden: str) -> None:
        super().__init__()
        self.hides = Hidden(frozenset(hidden), complete=True)

    def wanted(self, _request: ListRequest) -> bool:
        return False

    async def recommend(self, _request: ListRequest, _standing: Standing) -> Listing | None:
        return None


async def test_pin_hide_and_boost_count_in_published_lists_until_they_are_undone(stocked: tuple[str, Engine]) -> None:
    engine = stocked[1]

    async with serving(stocked[0]) as service:
        assert ids(await service.recommend(request())) == TABLE
        for rules, wanted in (
            ((pin("item-05", 2),), ["item-20", "item-05", "item-21"]),
            ((HiddenItem(item="item-20"),), ["item-21", "item-22"]),
            ((HiddenItem(item="item-20"), pin("item-21", 3)), ["item-22", "item-21"]),
            ((HiddenItem(item="item-20", placement="similar-items"),), TABLE),
            ((boost("item-22", 1.2),), ["item-20", "item-22", "item-21"]),
            ((boost("item-20", 0.5), pin("item-21", 3)), ["item-22", "item-20", "item-21"]),
            ((ItemBoost(placement="home", kind="brand", value="Acme", factor=3.0),), TABLE),
            ((), TABLE),
        ):
            await asyncio.to_thread(store, engine, *rules)
            assert await becomes(service, request(), lambda one, wanted=wanted: ids(one) == wanted) < 2
        pinned = await service.recommend(request())
        assert [item.rank for item in pinned.items] == [1, 2, 3]


async def test_rules_count_for_best_sellers_and_for_lists_about_items(stocked: tuple[str, Engine]) -> None:
    rules = (HiddenItem(item="item-00"), pin("item-09", 2), pin("item-22", 1, "similar-items"))
    store(stocked[1], *rules)

    async with serving(stocked[0], live=Scorer()) as service:
        general = await service.recommend(request(None))
        assert (general.source, ids(general)) == ("popular", ["item-01", "item-09", "item-02"])
        newcomer = await service.recommend(request(NEW))
        assert (newcomer.source, ids(newcomer)) == ("segment", [ITEMS[-1], "item-09", ITEMS[-2]])
        for answer in (await service.trending(request(None, k=30)), await service.popular(request(None, k=30))):
            assert "item-00" not in ids(answer)
        similar = await service.similar("item-01", request(None, placement="similar-items"))
        assert ids(similar)[0] == "item-22"
        listed = await service.similar("item-00", request(None, k=2, placement="similar-items"))
        assert (listed.source, ids(listed)) == ("table", ["item-22", "item-20"])
        ranked = await service.rank(RankRequest("home", Visitor(ANN), ("item-00", "item-03")))
        assert ids(ranked) == ["item-03"]


async def test_ranks_without_live_scores_follow_boosts_and_no_pins(stocked: tuple[str, Engine]) -> None:
    asked = ("item-03", "item-02", "item-22", "item-21", "item-20")
    store(stocked[1], boost("item-22", 1.2), boost("item-03", 2.0), pin("item-21"))

    async with serving(stocked[0]) as service:
        ranked = await service.rank(RankRequest("home", Visitor(ANN), asked))
        assert (ranked.source, ids(ranked)) == ("table", ["item-20", "item-22", "item-21", "item-03", "item-02"])
        general = await service.rank(RankRequest("home", Visitor(), asked))
        assert (general.source, ids(general)[:2]) == ("popular", ["item-03", "item-02"])


async def test_a_batch_that_was_made_under_a_pin_loses_it_when_it_is_undone(stocked: tuple[str, Engine]) -> None:
    engine, layer = stocked[1], RuleLayer((pin("item-20", 1),), (), (boost("item-21", 2.0),))
    version = store(engine, *layer)
    spec = shelf("under rules", k=3)
    entries = [("item-20", 0.0, "Picked by the shop"), ("item-21", 1.6, "x"), ("item-22", 0.9, "y")]
    fields = {"rules_version": version, "operator_rules": layer_to_json(layer)}
    published(engine, {ANN: entries}, type(spec)(**{**vars(spec), **fields}))

    async with serving(stocked[0]) as service:
        assert ids(await service.recommend(request())) == TABLE
        await asyncio.to_thread(store, engine)
        await becomes(service, request(), lambda one: ids(one) == ["item-22", "item-21"])


async def test_a_pin_of_an_item_that_the_batch_hides_from_everybody_has_no_effect(stocked: tuple[str, Engine]) -> None:
    store(stocked[1], pin("item-05"))

    async with serving(stocked[0], live=Scorer("item-05")) as service:
        assert ids(await service.recommend(request())) == TABLE


async def test_boosts_are_prepared_once_for_all_lists_of_a_batch() -> None:
    prepared = 0

    class Boosts(tuple[ItemBoost, ...]):
        """Boosts that count how often all of them are read."""

        def __iter__(self) -> Iterator[ItemBoost]:
            nonlocal prepared
            prepared += 1
            return super().__iter__()

    then = RuleLayer(boosts=Boosts([boost("item-22", 2.0), boost("item-21", 0.5)]))
    catalogue = Catalogue.of_model(np.array(ITEMS), np.ones(len(ITEMS), dtype=bool))

    async def best() -> None:
        """Return that no model is loaded."""

    rules = PresentRules(LayeredPlacements(PLACEMENTS), lambda _: then, lambda: catalogue, best)
    listing = Listing(tuple(Entry(name, score, "x") for name, score in zip(TABLE, (0.9, 0.8, 0.7), strict=True)), 1, 7)

    for _ in range(20):
        found = await rules.published(Search(None, request(), Selection(), ANN), listing)
        assert [entry.item_id for entry in found.entries] == ["item-21", "item-20", "item-22"]
    assert prepared == 1


@dataclass
class Rules:
    """A version that a test sets."""

    current: RuleVersion = NO_VERSION

    def now(self) -> datetime:
        return self.current.created_at


async def test_an_answer_during_which_the_rules_change_is_not_remembered() -> None:
    rules = Rules()

    class Changing(Scorer):
        """A scorer during whose work operators hide the best seller."""

        async def hidden(self, request: ListRequest) -> Hidden:
            rules.current = replace(NO_VERSION, version=1, layer=RuleLayer((), (HiddenItem(item="item-00"),)))
            return await super().hidden(request)

    service = AnswerService(Holder(champion()), LayeredPlacements(PLACEMENTS, rules), None, Changing())
    await service.upkeep.refresh()
    assert ids(await service.recommend(request(None)))[0] == "item-00"
    assert ids(await service.recommend(request(None)))[0] == "item-01"


async def test_a_pin_skips_visitors_who_excluded_the_item(stocked: tuple[str, Engine]) -> None:
    engine = stocked[1]
    store(engine, pin("item-05"))

    async with serving(stocked[0], live=Scorer()) as service:
        assert ids(await service.recommend(request())) == ["item-05", *TABLE[:2]]
        exclude = "INSERT INTO exclusions (user_key, kind, value) VALUES (:key, 'item', 'item-05')"
        await asyncio.to_thread(write, engine, exclude, key=ANN)
        await becomes(service, request(), lambda one: ids(one) == TABLE)
