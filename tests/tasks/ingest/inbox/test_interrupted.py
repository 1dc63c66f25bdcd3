"""A move that ends at any moment, again and again, ends like one that never was stopped."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from infra.lake.delta_lake import Lake
from models.columns import LEDGER
from serving.events.message import Message
from tasks.ingest import ledger
from tasks.ingest.inbox import move_inbox
from tasks.ingest.rows import apply
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.stopped_steps import KilledError, ends_at

STEPS: tuple[tuple[Any, str], ...] = (
    (move_inbox, "claim"),
    (ledger, "open_batch"),
    (ledger, "record_chunks"),
    (Lake, "append_events"),
    (apply, "apply"),
    (ledger, "close_batches"),
    (move_inbox, "finish_batch"),
)
SHOWN = ("answers", "impressions")


def moved(api: Api, moment: int) -> bool:
    """Move, up to that moment; False if the move ended before its end."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            ends_at(patch, moment, STEPS)
            api.move()
    except KilledError:
        return False
    return True


def test_nothing_is_lost_or_doubled(api: Api) -> None:
    messages = [
        *(api.act("ann", "cup", consent=True) for _ in range(3)),
        api.act("ann", "no such item", consent=True),
        api.shown("ann", "r1", "cup", "pan", consent=True),
        api.shown_alone("ann", "r2", "cup", consent=True),
        api.item("cup", price=2.0),
        api.user("bob", consent=False),
    ]
    api.send(*messages)
    stops = 0
    while not moved(api, stops + 1):
        stops += 1
        later = api.act("ann", "pan", consent=True)
        api.send(later, messages[0])
        messages.append(later)
    assert stops >= 10
    api.move()
    counts = api.ledger()
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read") == len(messages) + 1
    assert (counts["accepted"], counts["quarantined"], counts["routed"]) == (len(messages) - 2, 1, 2)
    ids = Counter(row["event_id"] for row in api.lake())
    assert set(ids.values()) == {1}
    assert len(ids) == counts["accepted"]
    assert api.rows("SELECT count(*) FROM event_inbox WHERE moved_at IS NULL")[0][0] == 0
    assert api.rows("SELECT count(*) FROM served_answers")[0][0] == 2
    assert api.rows("SELECT sum(answers) FROM answer_counts")[0][0] == 2


def some_message(api: Api, number: int, rng: random.Random) -> Message:
    user, item = f"user {rng.randrange(200)}", rng.choice(["cup", "pan", "cup", "no such item"])
    kind = rng.choices(["click", "shown", "item", "user", "quiet", "no"], [50, 20, 10, 10, 5, 5])[0]
    if kind == "shown":
        make = api.shown if number % 2 else api.shown_alone
        return make(rng.choice([user, None]), f"r{number}", "cup", "pan", consent=True)
    if kind == "item":
        return api.item(rng.choice(["cup", "pan"]), price=round(rng.uniform(1, 9), 2), in_stock=rng.random() < 0.5)
    if kind == "user":
        return api.user(user, consent=rng.random() < 0.8)
    consent = {"click": True, "quiet": None, "no": False}[kind]
    return api.act(user, item, consent=consent, kind=rng.choice(["click", "view", "purchase", "dismiss"]))


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.faults)])
def test_mixed_messages_add_up(api: Api, count: int) -> None:
    rng = random.Random(7)  # noqa: S311 -- the same messages each time
    messages = [some_message(api, number, rng) for number in range(count)]
    repeated = [replace(one) for one in rng.sample(messages, count // 20)]
    sent = [*messages, *repeated]
    rng.shuffle(sent)
    receipts = Counter(
        receipt for start in range(0, len(sent), 1000) for receipt in api.send(*sent[start : start + 1000])
    )
    assert receipts == {"stored": count, "duplicate": count // 20}
    api.move()
    counts = api.ledger()
    answers = [one for one in messages if one.kind in SHOWN]
    shown = sum((one.user_key or one.payload.get("user_key", (None,))[0]) is not None for one in answers)
    assert counts["read"] == len(messages) + shown  # an answer has two impressions, one to nobody is one row
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")
    events = api.lake()
    assert len(events) == len({row["event_id"] for row in events}) == counts["accepted"] > count // 2
    assert api.rows("SELECT count(*) FROM served_answers")[0][0] == len(answers)
    assert api.rows("SELECT count(*) FROM event_inbox WHERE outcome IS DISTINCT FROM 'moved'")[0][0] == 0
