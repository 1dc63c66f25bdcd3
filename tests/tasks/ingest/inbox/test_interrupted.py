"""A move ends the same if it is stopped at any moment, and reaches the new keys after a rotation."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.keys.identity import pseudonym
from infra.lake.delta_lake import Lake
from models.columns import LEDGER
from serving.events.message import Message, user_message
from tasks.ingest import ledger
from tasks.ingest.inbox import move_inbox
from tasks.ingest.rows import apply
from tasks.privacy.rotate import rotate_pseudonym_key
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.privacy.stores import started
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


def test_waiting_messages_and_profiles_get_the_new_keys(api: Api) -> None:
    old, old_device = api.key("ann"), api.device("phone")
    api.send(api.act("bob", "cup", consent=True))
    api.move()
    api.send(api.act("ann", "cup", consent=True, session="phone"))
    late = replace(api.act("ann", "pan", consent=True), user_id=None)
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    here = started()
    new = pseudonym("ann", here.key)
    assert new != old
    waiting = api.rows("SELECT user_key, session_key, key_version FROM event_inbox WHERE moved_at IS NULL")
    api.here = here
    assert waiting == [(new, api.device("phone"), 2)]
    assert api.rows("SELECT subject FROM session_profiles WHERE subject = :new", new=new)
    api.send(late)
    api.move()
    assert {row["item_id"]: row["user_key"] for row in api.lake() if row["user_key"] == new} == {"cup": new, "pan": new}
    assert len(api.lake()) == 3
    assert old_device not in str(api.rows("SELECT * FROM aliases"))
    assert api.rows("SELECT user_key, user_id FROM identity.users WHERE user_id = 'ann'") == [(new, "ann")]


def test_answers_that_wait_or_come_late_get_the_new_keys(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True))
    api.move()
    old = api.key("ann")
    api.send(api.shown("ann", "r1", "cup", session_key=api.device("phone")), api.shown(None, "r2", "cup"))
    late = api.shown("ann", "r3", "pan")
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    here = started()
    new = pseudonym("ann", here.key)
    api.here = here
    waiting = api.rows(
        "SELECT payload -> 'user_key', payload -> 'session_key', key_version FROM event_inbox "
        "WHERE kind = 'answers' ORDER BY inbox_id"
    )
    assert waiting == [([new], [api.device("phone")], 2), ([None], [None], 2)]
    api.send(late)
    api.move()
    shown = [row for row in api.lake() if row["event_type"] == "impression"]
    assert [(row["recommendation_id"], row["user_key"]) for row in shown] == [("r1", new), ("r3", new)]
    assert old not in str(api.lake())


def hides(api: Api, user: str) -> Any:
    return api.act(user, "cup", kind="not_interested", consent=True)


def states(api: Api, user: str) -> Any:
    return user_message({}, [("item", "cup")], api.sender(user, consent=True), api.id())


@pytest.mark.parametrize("late", [hides, states])
def test_an_item_hidden_by_a_process_from_before_the_rotation_is_hidden_from_the_same_person(
    api: Api, late: Callable[[Api, str], Any]
) -> None:
    api.send(api.act("ann", "cup", consent=True))
    api.move()
    old, message = api.key("ann"), late(api, "ann")
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    api.here = started()
    api.send(replace(message, user_id=None))
    assert api.rows("SELECT user_key FROM exclusions") == [(old,)]
    api.move()
    assert api.rows("SELECT user_key, kind, value FROM exclusions") == [(api.key("ann"), "item", "cup")]
