"""Dead letters are stored after all, with their own ids, once their reason is gone."""

import asyncio
from datetime import UTC, datetime

import pytest

from infra.database.engine import engine
from models.errors import TailorbirdError
from serving.queries.dead_letters import Selection, letter_rows, letters_to_replay
from serving.stream.delivery import DeadLetter, received
from serving.stream.replay import replay
from serving.stream.settlement import Settlement
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.stream.clicks import click, delivery, settlement_of

OPEN = Selection()


def replayed(inbox: InboxDatabase, selection: Selection = OPEN, *, dry_run: bool = False) -> dict[int, str]:
    async def work() -> dict[int, str]:
        async with settlement_of(inbox) as settlement:
            chosen = letters_to_replay(engine(inbox.url), selection)
            done = await replay(settlement.pool, chosen, lambda _: settlement.reader, dry_run=dry_run)
            return {one["letter_id"]: one["outcome"] for one in done}

    return asyncio.run(work())


@pytest.fixture
def kept(inbox: InboxDatabase) -> InboxDatabase:
    """An inbox beside letters of every kind: 1 can be stored, 2 was stored meanwhile, 3, 4 and 5 can never be."""

    async def work(settlement: Settlement) -> None:
        await settlement.settle([delivery(click(2)), delivery(click(3))])
        given_up = [click(1), click(2)]
        await settlement.give_up([DeadLetter(delivery(body), "broker", "Given up.") for body in given_up])
        padded = received(click(5) + b" " * 600_000, None, "")  # its head alone is a sound call
        for one in (delivery(click(3, "pan")), delivery(b"{", message_id="m9"), padded):
            await settlement.settle([one])

    async def run() -> None:
        async with settlement_of(inbox) as settlement:
            await work(settlement)

    asyncio.run(run())
    return inbox


def test_a_replay_stores_what_can_be_stored_and_leaves_the_others(kept: InboxDatabase) -> None:
    expected = {1: "stored", 2: "duplicate", 3: "id_conflict", 4: "malformed", 5: "too_large"}
    assert replayed(kept, dry_run=True) == expected
    assert kept.ids() == ["m2", "m3"]
    assert len(letter_rows(engine(kept.url), OPEN)) == 5
    assert replayed(kept) == expected
    assert kept.ids() == ["m2", "m3", "m1"]
    assert replayed(kept) == {3: "id_conflict", 4: "malformed", 5: "too_large"}
    assert [row["letter_id"] for row in letter_rows(engine(kept.url), Selection(replayed=True))] == [1, 2, 3, 4, 5]


def test_letters_are_chosen_by_source_reason_and_number(kept: InboxDatabase) -> None:
    database = engine(kept.url)
    assert [row["reason"] for row in letter_rows(database, Selection(reason="broker"))] == ["broker", "broker"]
    assert letter_rows(database, Selection(source="elsewhere")) == []
    assert replayed(kept, Selection(ids=(2,))) == {2: "duplicate"}
    with pytest.raises(TailorbirdError, match="No dead letter waits with the number 2"):
        replayed(kept, Selection(ids=(1, 2)))


def test_a_letter_that_is_delivered_again_after_its_replay_waits_again(kept: InboxDatabase) -> None:
    replayed(kept, Selection(reason="broker"))

    async def again() -> None:
        async with settlement_of(kept) as settlement:
            await settlement.give_up([DeadLetter(delivery(click(1)), "broker", "Given up.")])

    asyncio.run(again())
    (row,) = letter_rows(engine(kept.url), Selection(reason="broker"))
    assert (row["letter_id"], row["times"], row["replayed_at"]) == (1, 2, None)
    assert row["last_at"] > row["first_at"] < datetime.now(UTC)
