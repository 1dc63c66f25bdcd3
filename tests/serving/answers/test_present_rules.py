"""Rules of operators in answers of every source, from the next answer on."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from sqlalchemy import Engine

from models.lists.rules.layer.rule_layer import NO_VERSION, HiddenItem, ItemBoost, RuleLayer, RuleVersion, layer_to_json
from serving.answers.answer import Entry, Listing
from serving.answers.chain import PresentRules, Search
from serving.answers.interfaces import Hidden
from serving.answers.request import ListRequest, RankRequest, Visitor
from serving.answers.selection import Selection
from serving.answers.service import AnswerService
from serving.stores.catalogue import Catalogue
from serving.stores.lists import Standing
from serving.stores.rules import LayeredPlacements
from tests.published import published, shelf
from tests.serving.answers.live_scorer import LiveScorer
from tests.serving.made_up_shop import (
    ANN,
    ITEMS,
    NEW,
    PLACEMENTS,
    Holder,
    becomes,
    champion,
    ids,
    request,
    run,
    write,
)
from tests.serving.operator_rules import boost, pin, store

TABLE = ["item-20", "item-21", "item-22"]


class Scorer(LiveScorer):
    """A live scorer that only knows what the rules hide because of events."""

    def __init__(self, *hidden: str) -> None:
        super().__init__()
        self.hides = Hidden(frozenset(hidden), complete=True)

    def wanted(self, _request: ListRequest) -> bool:
        return False

    async def recommend(self, _request: ListRequest, _standing: Standing) -> Listing | None:
        return None


def test_pin_hide_and_boost_count_in_published_lists_until_they_are_undone(stocked: tuple[str, Engine]) -> None:
    engine = stocked[1]

    async def scenario(service: AnswerService) -> None:
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

    run(stocked, scenario)


def test_rules_count_for_best_sellers_and_for_lists_about_items(stocked: tuple[str, Engine]) -> None:
    rules = (HiddenItem(item="item-00"), pin("item-09", 2), pin("item-22", 1, "similar-items"))
    store(stocked[1], *rules)

    async def scenario(service: AnswerService) -> None:
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

    run(stocked, scenario, live=Scorer())


def test_ranks_without_live_scores_follow_boosts_and_no_pins(stocked: tuple[str, Engine]) -> None:
    asked = ("item-03", "item-02", "item-22", "item-21", "item-20")
    store(stocked[1], boost("item-22", 1.2), boost("item-03", 2.0), pin("item-21"))

    async def scenario(service: AnswerService) -> None:
        ranked = await service.rank(RankRequest("home", Visitor(ANN), asked))
        assert (ranked.source, ids(ranked)) == ("table", ["item-20", "item-22", "item-21", "item-03", "item-02"])
        general = await service.rank(RankRequest("home", Visitor(), asked))
        assert (general.source, ids(general)[:2]) == ("popular", ["item-03", "item-02"])

    run(stocked, scenario)


def test_a_batch_that_was_made_under_a_pin_loses_it_when_it_is_undone(stocked: tuple[str, Engine]) -> None:
    engine, layer = stocked[1], RuleLayer((pin("item-20", 1),), (), (boost("item-21", 2.0),))
    version = store(engine, *layer)
    spec = shelf("under rules", k=3)
    entries = [("item-20", 0.0, "Picked by the shop"), ("item-21", 1.6, "x"), ("item-22", 0.9, "y")]
    fields = {"rules_version": version, "operator_rules": layer_to_json(layer)}
    published(engine, {ANN: entries}, type(spec)(**{**vars(spec), **fields}))

    async def scenario(service: AnswerService) -> None:
        assert ids(await service.recommend(request())) == TABLE
        await asyncio.to_thread(store, engine)
        await becomes(service, request(), lambda one: ids(one) == ["item-22", "item-21"])

    run(stocked, scenario)


def test_a_pin_of_an_item_that_the_batch_hides_from_everybody_has_no_effect(stocked: tuple[str, Engine]) -> None:
    store(stocked[1], pin("item-05"))

    async def scenario(service: AnswerService) -> None:
        assert ids(await service.recommend(request())) == TABLE

    run(stocked, scenario, live=Scorer("item-05"))


def test_boosts_are_prepared_once_for_all_lists_of_a_batch() -> None:
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

    async def scenario() -> None:
        for _ in range(20):
            found = await rules.published(Search(None, request(), Selection(), ANN), listing)
            assert [entry.item_id for entry in found.entries] == ["item-21", "item-20", "item-22"]

    asyncio.run(scenario())
    assert prepared == 1


@dataclass
class Rules:
    """A version that a test sets."""

    current: RuleVersion = NO_VERSION

    def now(self) -> datetime:
        return self.current.created_at


def test_an_answer_during_which_the_rules_change_is_not_remembered() -> None:
    rules = Rules()

    class Changing(Scorer):
        """A scorer during whose work operators hide the best seller."""

        async def hidden(self, request: ListRequest) -> Hidden:
            rules.current = replace(NO_VERSION, version=1, layer=RuleLayer((), (HiddenItem(item="item-00"),)))
            return await super().hidden(request)

    async def scenario() -> None:
        service = AnswerService(Holder(champion()), LayeredPlacements(PLACEMENTS, rules), None, Changing())
        await service.upkeep.refresh()
        assert ids(await service.recommend(request(None)))[0] == "item-00"
        assert ids(await service.recommend(request(None)))[0] == "item-01"

    asyncio.run(scenario())


def test_a_pin_skips_visitors_who_excluded_the_item(stocked: tuple[str, Engine]) -> None:
    engine = stocked[1]
    store(engine, pin("item-05"))

    async def scenario(service: AnswerService) -> None:
        assert ids(await service.recommend(request())) == ["item-05", *TABLE[:2]]
        exclude = "INSERT INTO exclusions (user_key, kind, value) VALUES (:key, 'item', 'item-05')"
        await asyncio.to_thread(write, engine, exclude, key=ANN)
        await becomes(service, request(), lambda one: ids(one) == TABLE)

    run(stocked, scenario, live=Scorer())
