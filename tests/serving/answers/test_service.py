"""Answers from a real database: sources, consent, changes and pages."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from serving.answers.catalogue_search import CatalogueQuery
from serving.answers.protocol import Filters, Hidden, ListRequest, RankRequest, Visitor
from serving.answers.service import AnswerService
from serving.live.live_scorer import live_scorer
from serving.model.holder import ModelHolder
from serving.model.sources import BundleFolder, ChampionCopy
from serving.stores.lists import NOBODY
from serving.stores.rules import LayeredPlacements
from serving.stores.stores import Stores
from tests.published import published, shelf
from tests.serving.bundle_folders import write_bundle
from tests.serving.made_up_shop import (
    ANN,
    BOB,
    EVE,
    ITEMS,
    LIST,
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

pytestmark = pytest.mark.anyio
ANONYMOUS = Visitor()


async def test_each_source_answers_for_those_it_is_for(stocked: tuple[str, Engine]) -> None:
    async with serving(stocked[0]) as service:
        first = await service.recommend(request())
        assert (first.source, first.personal, first.degraded) == ("table", True, False)
        assert (first.model_version, ids(first)) == (1, ["item-20", "item-21", "item-22"])
        assert next((item.rank, item.title, item.price) for item in first.items) == (1, "Title of item-20", 2.5)
        again = await service.recommend(request())
        assert again == replace(first, source="cache")
        newcomer = await service.recommend(request(NEW))
        assert (newcomer.source, newcomer.personal, ids(newcomer)) == ("segment", True, ITEMS[:-4:-1])
        for user in (None, EVE, "0" * 64):
            answer = await service.recommend(request(user))
            assert (answer.source, answer.personal, answer.degraded) == ("popular", False, False)
            assert ids(answer) == ITEMS[:3]
        due = await service.recommend(request(placement="again"))
        assert due.items == ()
        similar = await service.similar("item-00", request(None, placement="similar-items"))
        assert (similar.source, ids(similar)) == ("table", ["item-20", "item-21"])
        unlisted = await service.similar("item-05", request(None, placement="similar-items"))
        assert unlisted.source == "popular"
        assert "item-05" not in ids(unlisted)


async def test_lists_about_an_item_that_no_catalogue_has_are_degraded(stocked: tuple[str, Engine]) -> None:
    async with serving(stocked[0]) as service:
        for answer in (
            await service.similar("nothing", request(None, placement="similar-items")),
            await service.goes_with(("nothing", "nowhere"), request(None, placement="similar-items")),
        ):
            assert (answer.source, answer.degraded, len(answer.items)) == ("popular", True, 3)
        both = await service.goes_with(("nothing", "item-05"), request(None, placement="similar-items"))
        assert not both.degraded


async def test_an_item_without_a_list_is_followed_by_best_sellers_of_its_category(
    stocked: tuple[str, Engine],
) -> None:
    write(stocked[1], "UPDATE items SET category = 'DRINKS' WHERE item_id IN ('item-09', 'item-11')")
    async with serving(stocked[0]) as service:

        async def similar(user: str | None, **others: Any) -> list[str]:
            return ids(await service.similar("item-09", request(user, 4, "similar-items", **others)))

        assert await similar(None) == ["item-11", "item-29", "item-00", "item-01"]
        assert await similar(None, filters=Filters(categories=("FOOD",))) == ITEMS[:4]
        assert await similar(NEW) == await similar(None)  # lists about items know no segments
        beside = await service.goes_with(("item-09",), request(None, placement="similar-items"))
        assert ids(beside) == ITEMS[:3]


async def test_the_id_of_a_variant_stands_for_its_item_in_every_request(stocked: tuple[str, Engine]) -> None:
    stated = """UPDATE items SET attributes = jsonb_build_object('variant_ids', item_id || ' S' || chr(10) || 'both')"""
    write(stocked[1], f"{stated} WHERE item_id IN ('item-00', 'item-20')")
    scorer = MemoryScorer()
    async with serving(stocked[0], live=scorer) as service:

        async def answers(first: str, other: str) -> list[object]:
            about = request(None, placement="similar-items")
            lists = [
                await service.similar(first, about),
                await service.goes_with((first, other, first), about),
                await service.rank(RankRequest("home", ANONYMOUS, (other, "item-05", first), context=(first,))),
                await service.recommend(request(None, context=(other, first))),
                await service.recommend(request(filters=Filters(exclude=(other,)), k=2)),
            ]
            found = await service.find(CatalogueQuery(5, items=(other, "item-05")))
            return [*((ids(one), one.degraded) for one in lists), [one.item.item_id for one in found]]

        expected = await answers("item-00", "item-20")
        asked, scorer.asked = scorer.asked, []
        assert await answers("item-00 S", "item-20 S") == expected
        assert {one.context for one, _ in scorer.asked} <= {one.context for one, _ in asked}
        assert await service.unknown_items(["both", "item-00"]) == {"both"}
        assert service.product("both") == "both"


async def test_an_item_that_only_pages_have_named_is_shown_nowhere_until_it_is_described(
    stocked: tuple[str, Engine],
) -> None:
    names = "item_id, title, attributes, available, batch_id, available_from"
    hidden = "('evil', 'Buy from me', '{}', true, '', 'infinity')"
    write(stocked[1], f"INSERT INTO items ({names}) VALUES {hidden}")
    write(stocked[1], "UPDATE items SET available_from = 'infinity' WHERE item_id = 'item-00'")

    async def shown(service: AnswerService) -> list[set[str]]:
        found = await service.find(CatalogueQuery(30, text="")), await service.find(CatalogueQuery(5, text="buy from"))
        asked = await service.find(CatalogueQuery(5, items=("evil", "item-00")))
        lists = await service.newest(request(None, k=30)), await service.trending(request(None, k=30))
        more = await service.popular(request(None, k=30)), await service.recommend(request(k=30))
        more += (await service.rank(RankRequest("home", Visitor(ANN), ("evil", "item-00", "item-01"))),)
        items = ({one.item.item_id for one in part} for part in (*found, asked))
        return [*items, *(set(ids(one)) for one in lists + more)]

    async with serving(stocked[0]) as service:
        assert not {"evil", "item-00"} & set().union(*await shown(service))
        assert await service.unknown_items(["evil"]) == set()  # its events count
        write(stocked[1], "UPDATE items SET available_from = NULL WHERE item_id IN ('evil', 'item-00')")
        await until(lambda: "evil" in service.upkeep.catalogue.sold)
        await until(lambda: service.upkeep.best and service.upkeep.best.newest.entries, 15)
        assert ids(await service.newest(request(None, k=30))) == ["evil"]


async def test_an_item_is_known_as_soon_as_its_message_is_stored(stocked: tuple[str, Engine]) -> None:
    def put(item: str, batch: str | None, moved: str | None) -> None:
        names = "source, message_id, kind, key_version, payload, batch_id, moved_at"
        row = "'api', CAST(:item AS text), 'item', 1, jsonb_build_object('item_id', CAST(:item AS text)), :batch"
        statement = f"INSERT INTO event_inbox ({names}) VALUES ({row}, CAST(:moved AS timestamptz))"
        write(stocked[1], statement, item=item, batch=batch, moved=moved)

    async with serving(stocked[0]) as service:
        asked = ["item-05", "waits", "moves", "gone", "nothing"]
        assert await service.unknown_items(asked) == {"waits", "moves", "gone", "nothing"}
        put("waits", None, None)
        put("moves", "b", None)
        put("gone", "b", "2026-01-01")
        assert await service.unknown_items(asked) == {"gone", "nothing"}


async def test_pages_and_filters_narrow_answers(stocked: tuple[str, Engine]) -> None:
    async with serving(stocked[0]) as service:
        second = await service.recommend(request(k=2, offset=2))
        assert [(item.rank, item.item_id) for item in second.items] == [(3, "item-22")]
        assert (await service.recommend(request(k=2, offset=40))).items == ()
        drinks = await service.recommend(request(None, filters=Filters(categories=("DRINKS",))))
        assert (drinks.source, ids(drinks)) == ("popular", ["item-29"])
        without = await service.recommend(request(filters=Filters(exclude=("item-20",)), k=2))
        assert ids(without) == ["item-21", "item-22"]
        assert (await service.popular(request(None, offset=28, k=5))).items[0].rank == 29
        assert ids(await service.trending(request(None)))
        assert (await service.newest(request(None))).items == ()


async def test_live_scores_answer_what_no_batch_knows(stocked: tuple[str, Engine]) -> None:
    scorer = MemoryScorer()

    async with serving(stocked[0], live=scorer) as service:
        basket = await service.recommend(request(None, context=("item-29",)))
        assert (basket.source, ids(basket)) == ("live", ITEMS[-2:-5:-1])
        assert (await service.recommend(request(NEW))).source == "live"
        assert (await service.recommend(request(ANN))).source == "table"
        assert (await service.recommend(request(None))).source == "popular"
        refused = await service.recommend(request(EVE, context=("item-29",)))
        assert refused.source == "live"
        assert scorer.asked[-1][0].visitor == ANONYMOUS
        ranked = await service.rank(RankRequest("home", Visitor(ANN), ("item-01", "item-02", "nothing")))
        assert (ranked.source, ids(ranked)) == ("live", ["item-02", "item-01"])
        scorer.overloaded = True
        fallback = await service.recommend(request(ANN, context=("item-22",)))
        assert (fallback.source, fallback.degraded, ids(fallback)) == ("table", True, ["item-20", "item-21"])
        ranked = await service.rank(RankRequest("home", Visitor(ANN), ("item-01", "item-22", "item-00")))
        assert (ranked.source, ids(ranked)) == ("table", ["item-22", "item-00", "item-01"])


async def test_of_a_published_due_list_only_what_was_bought_since_is_missing(
    stocked: tuple[str, Engine], tmp_path: Path, own_var: Path
) -> None:
    """The champion knows no item of the list, as after a promotion, so that the live list is empty."""
    database, engine = stocked
    published(engine, {ANN: LIST}, shelf("again", "again", k=3))
    write_bundle(tmp_path / "bundle")
    models = ModelHolder(BundleFolder(tmp_path / "bundle"), ChampionCopy(own_var / "serving"))
    assert models.open() is not None
    columns = "(subject, claimed, items, occurred_at, kinds, expires_at)"
    values = "(:ann, false, ARRAY[:item], ARRAY[now()], ARRAY[:kind], now() + interval '1 day')"
    add = ", ".join(f"{name} = profile.{name} || excluded.{name}" for name in ("items", "occurred_at", "kinds"))
    act = f"INSERT INTO session_profiles AS profile {columns} VALUES {values} ON CONFLICT (subject, claimed) "
    act += f"DO UPDATE SET {add}"
    asked = request(placement="again")

    stores = Stores(database, request_seconds=3.0)
    placements = LayeredPlacements(PLACEMENTS, stores.rules)
    async with live_scorer(models, placements, stores) as live, stores.running():
        service = AnswerService(models, placements, stores, live)
        async with service.running():
            for kind, item, left in (
                ("click", "item-20", ["item-20", "item-21", "item-22"]),
                ("purchase", "item-29", ["item-20", "item-21", "item-22"]),
                ("purchase", "item-21", ["item-20", "item-22"]),
                ("purchase", "item-20", ["item-22"]),
                ("purchase", "item-22", []),
            ):
                write(engine, act, ann=ANN, item=item, kind=kind)
                await until(lambda: live.wanted(asked))
                listing = await live.recommend(asked, NOBODY)
                assert listing is not None
                assert listing.entries == ()
                answer = await service.recommend(asked)
                assert (ids(answer), answer.degraded, answer.personal) == (left, False, True), (kind, item)


async def test_best_sellers_leave_out_what_the_rules_hide_and_report_if_that_is_unknown(
    stocked: tuple[str, Engine],
) -> None:
    scorer = MemoryScorer()
    scorer.overloaded = True

    async with serving(stocked[0], live=scorer) as service:
        scorer.hides = Hidden(frozenset({ITEMS[-1], "item-00"}), complete=True)
        newcomer = await service.recommend(request(NEW))
        assert (newcomer.source, ids(newcomer), newcomer.personal) == ("segment", ITEMS[-2:-5:-1], True)
        general = await service.popular(request(None))
        assert (ids(general), general.degraded, general.personal) == (ITEMS[1:4], False, False)
        assert "item-00" not in ids(await service.trending(request(None, k=30)))
        drinks = await service.recommend(request(NEW, filters=Filters(categories=("DRINKS",))))
        assert drinks.items == ()
        scorer.hides = Hidden(frozenset({"item-00"}), complete=False)
        unknown = await service.popular(request(None))
        assert (ids(unknown), unknown.degraded) == (ITEMS[1:4], True)


@pytest.mark.parametrize("with_redis", [False, True])
async def test_withdrawn_consent_holds_within_a_second_in_every_process(
    stocked: tuple[str, Engine], with_redis: bool, redis: Any
) -> None:
    database, engine = stocked
    redis_url = redis.url if with_redis else None

    async with serving(database, redis_url) as one, serving(database, redis_url) as other:
        for service in (one, other, one, other):
            assert (await service.recommend(request())).personal
        stored = redis.ask("DBSIZE")
        await asyncio.to_thread(write, engine, "UPDATE users SET consent = false WHERE user_key = :key", key=ANN)
        if with_redis:  # the list is deleted, also if nobody asks for it again
            await until(lambda: redis.ask("DBSIZE") < stored, 1.0)
        for service in (one, other):
            assert await becomes(service, request(), lambda answer: not answer.personal) < 1
        assert (await other.recommend(request(BOB))).source in {"table", "cache"}
        await asyncio.to_thread(write, engine, "UPDATE users SET consent = true WHERE user_key = :key", key=ANN)
        await becomes(one, request(), lambda answer: answer.personal, 1)


async def test_suppressions_and_exclusions_of_a_user_hold_within_a_second(stocked: tuple[str, Engine]) -> None:
    async with serving(stocked[0]) as service:
        await service.recommend(request())
        exclude = "INSERT INTO exclusions (user_key, kind, value) VALUES (:key, 'item', 'item-20')"
        await asyncio.to_thread(write, stocked[1], exclude, key=ANN)
        assert await becomes(service, request(), lambda answer: ids(answer) == ["item-21", "item-22"]) < 1
        suppress = "INSERT INTO suppressions (user_key, reason) VALUES (:key, 'erased')"
        await asyncio.to_thread(write, stocked[1], suppress, key=ANN)
        assert await becomes(service, request(), lambda answer: ids(answer) == ITEMS[:3]) < 1
        assert not (await service.recommend(request())).personal


async def test_an_item_that_the_visitor_hides_is_gone_from_the_next_answer(stocked: tuple[str, Engine]) -> None:
    async with serving(stocked[0]) as service:
        await service.recommend(request())
        service.hide(Visitor(ANN), "item-20")
        assert ids(await service.recommend(request())) == ["item-21", "item-22"]
        session = ListRequest("home", Visitor(session_key="s"), 3)
        assert "item-00" in ids(await service.recommend(session))
        service.hide(session.visitor, "item-00")
        assert "item-00" not in ids(await service.recommend(session))
        assert "item-00" in ids(await service.recommend(request(None)))


async def test_new_lists_a_rollback_and_a_hidden_item_show_within_ten_seconds(stocked: tuple[str, Engine]) -> None:
    engine = stocked[1]

    async with serving(stocked[0]) as service:
        old = await service.recommend(request())
        new = [("item-11", 0.5, "new"), ("item-12", 0.4, "new")]
        await asyncio.to_thread(published, engine, {ANN: new}, shelf("second", version=2, k=2))
        await becomes(service, request(), lambda answer: ids(answer) == ["item-11", "item-12"], 10)
        hide = "UPDATE items SET in_stock = false WHERE item_id = 'item-11'"
        await asyncio.to_thread(write, engine, hide)
        await becomes(service, request(), lambda answer: ids(answer) == ["item-12"], 10)
        move = "UPDATE placements SET batch_id = :batch WHERE placement = 'home'"
        await asyncio.to_thread(write, engine, move, batch=old.batch_id)
        await becomes(service, request(), lambda answer: ids(answer) == ids(old), 10)
        await asyncio.to_thread(write, engine, "DELETE FROM items WHERE item_id = 'item-20'")
        await becomes(service, request(), lambda answer: ids(answer) == ["item-21", "item-22"], 10)


async def test_before_any_model_is_loaded_answers_are_empty_or_from_the_table(stocked: tuple[str, Engine]) -> None:
    async with serving(stocked[0], holder=Holder(None)) as service:
        assert service.upkeep.best is None
        assert (await service.recommend(request())).source == "table"
        general = await service.recommend(request(None))
        assert (general.items, general.degraded) == ((), True)


async def test_a_bundle_alone_answers_without_any_store() -> None:
    service = AnswerService(Holder(champion()), PLACEMENTS, None, MemoryScorer())
    async with service.running():
        assert (await service.recommend(request(BOB))).source == "live"
        general = await service.recommend(request(None))
        assert (general.source, general.degraded, ids(general)) == ("popular", False, ITEMS[:3])
        assert general.items[0].title is None
    plain = AnswerService(Holder(champion()), PLACEMENTS)
    async with plain.running():
        assert (await plain.recommend(request(BOB))).source == "segment"


async def test_values_that_another_program_wrote_into_redis_are_replaced(
    stocked: tuple[str, Engine], redis: Any
) -> None:
    async with serving(stocked[0], redis.url) as one:
        first = await one.recommend(request())
    for value in ("x", "abcdefgh", '"abcd[1]"'):
        for key in re.findall(r"tailorbird:1:home\S+", redis.ask("KEYS *")):
            redis.ask(f"SET {key} {value} EX 300")
        async with serving(stocked[0], redis.url) as other:
            answer = await other.recommend(request())
            assert (answer.source, answer.items) == ("table", first.items)
