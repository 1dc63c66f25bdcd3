"""Answers that a process remembers: bounded, and without what they were made from."""

import asyncio
import gc
import weakref

from models.lists.rules.layer.rule_layer import NO_RULES, PinnedItem, RuleLayer
from serving.answers.answer import Answer
from serving.answers.chain import StoredAnswers
from serving.answers.remembered_answers import RememberedAnswers, State
from serving.answers.request import Filters, ListRequest, Visitor
from serving.answers.selection import HiddenItems
from serving.answers.service import AnswerService
from tests.serving.made_up_shop import ITEMS, PLACEMENTS, Holder, champion

NOW = State(1, 1, 1, NO_RULES)


def answer(letters: int) -> Answer:
    return Answer((), "home", "table", items_json=b"x" * letters)


def test_the_last_used_answers_stay_within_a_number_of_bytes() -> None:
    remembered = RememberedAnswers(StoredAnswers(None).may_show, 60, most_bytes=14_400)
    for number in range(50):
        remembered.remember(number, answer(400), NOW, None, 0.0)
        assert remembered.fresh(0, NOW) is not None
    assert [number for number in range(50) if remembered.fresh(number, NOW)] == [0, *range(41, 50)]
    remembered.remember("long", answer(400), NOW, None, 0.0, letters=12_000)
    assert [key for key in (0, 48, 49, "long") if remembered.fresh(key, NOW)] == ["long"]
    for _ in range(50):  # the same key again takes the place of its earlier answer
        remembered.remember("long", answer(400), NOW, None, 0.0)
    remembered.remember("short", answer(400), NOW, None, 0.0)
    assert remembered.fresh("long", NOW) is not None


def test_the_letters_of_a_request_count_all_lists_that_a_caller_may_make_long() -> None:
    filters = Filters(("tea",), ("acme",), exclude=("a", "bc"))
    assert ListRequest("home", Visitor(), 3, context=("x" * 100,), filters=filters).letters == 110


def test_an_answer_of_another_state_is_not_fresh_and_is_the_last_good_one() -> None:
    remembered = RememberedAnswers(StoredAnswers(None).may_show, 60)
    remembered.remember("key", answer(1), NOW, None, 0.0)
    for other in (
        *(State(2, 1, 1, NO_RULES), State(1, 2, 1, NO_RULES), State(1, 1, 2, NO_RULES)),
        State(1, 1, 1, RuleLayer((PinnedItem(placement="home", item="a", place=1),))),
    ):
        assert remembered.fresh("key", other) is None
    assert remembered.last_good("key") is not None


def test_a_remembered_answer_keeps_no_old_catalogue_in_memory() -> None:
    async def scenario() -> None:
        holder = Holder(champion())
        service = AnswerService(holder, PLACEMENTS)
        await service.upkeep.refresh()
        assert (await service.recommend(ListRequest("home", Visitor(), 3))).items
        old = weakref.ref(service.upkeep.catalogue)
        holder.model = champion(2, reverse=True)
        await service.upkeep.refresh()
        assert [item.item_id for item in (await service.recommend(ListRequest("home", Visitor(), 1))).items] == [
            ITEMS[-1]
        ]
        gc.collect()
        assert old() is None

    asyncio.run(scenario())


def test_a_visitor_who_hides_items_without_end_takes_little_memory() -> None:
    hidden, visitor = HiddenItems(most=2), Visitor("a" * 64)
    for number in range(5_000):
        hidden.add(visitor, f"item-{number}")
        assert f"item-{number}" in hidden.of(visitor)
        assert len(hidden.of(visitor)) <= 1_000
    for name in "bc":
        hidden.add(Visitor(None, name * 64), "item-1")
    assert hidden.of(visitor) == frozenset()
