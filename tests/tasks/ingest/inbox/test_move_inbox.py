"""Messages of the inbox become events, values and answers, by the rules of every other source."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from infra import locks
from infra.configuration.retention import Retention
from models.columns import LEDGER
from serving.events.impressions import ShownAnswer, message_of
from tasks.ingest.events import ingest_events
from tasks.ingest.inbox import event_chunks, messages
from tasks.ingest.inbox.finish_batch import remove_outdated
from tasks.ingest.inbox.move_inbox import move_events, move_inbox, move_updates
from tests.tasks.ingest.inbox.api import AT_ONCE, Api


def test_acts_become_events_with_pseudonyms_and_the_raw_id_stays_in_its_schema(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True, recommendation_id="r1", placement="home", position=2))
    (batch,) = api.move()
    (event,) = api.lake()
    assert batch.startswith("api-events-")
    assert {
        name: event[name] for name in ("event_id", "user_key", "item_id", "event_type", "position", "batch_id")
    } == {
        "event_id": "api:m1",
        "user_key": api.key("ann"),
        "item_id": "cup",
        "event_type": "click",
        "position": 2,
        "batch_id": batch,
    }
    assert api.rows("SELECT user_id, user_key FROM identity.users") == [("ann", api.key("ann"))]
    assert api.rows("SELECT payload, user_key, outcome FROM event_inbox") == [({}, None, "moved")]


def test_every_row_is_counted_once(api: Api) -> None:
    api.send(api.user("ann", consent=True))
    old = api.act("ann", "cup", occurred_at=datetime.now(UTC) - timedelta(hours=1))
    api.send(
        old,
        api.act("ann", "unknown item", consent=True),
        api.act("nobody agreed", "cup"),
        api.act("bob", "cup", consent=False),
        api.shown("ann", "r1", "cup", "pan"),
        api.shown(None, "r2", "cup"),
        api.item("cup", price=2.0),
        replace(api.item("cup"), payload={"item_id": "cup", "price": "dear"}),
        api.user("ann", age="30"),
        api.user("eve", age="30"),
    )
    api.move()
    api.rows("DELETE FROM event_inbox")
    api.send(old)
    api.move()
    counts = api.ledger()
    assert counts == {"read": 13, "accepted": 3, "quarantined": 2, "duplicate": 1, "suppressed": 3, "routed": 4}
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")


def test_many_answers_of_one_row_become_what_rows_of_one_answer_become(api: Api) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    about = {"batch_id": 7, "model_version": 3, "variant": "b", "propensity": 0.25, "shown_at": at}
    answers = [
        ShownAnswer("r1", "home", ("cup", "pan"), "table", 1, api.key("ann"), api.device("phone"), 4, **about),  # type: ignore[arg-type]
        ShownAnswer("r2", "mail", ("pan",), "live", 1, None, api.device("phone"), consent=True, shown_at=at),
        ShownAnswer("r3", "home", ("cup",), "popular", 1, shown_at=at + timedelta(hours=2)),
    ]
    together = message_of(answers)
    api.send(api.user("ann", consent=True), together)
    assert api.rows("SELECT messages FROM event_inbox WHERE kind = 'answers'") == [(3,)]
    api.move()
    names = ("event_id", "user_key", "session_id", "item_id", "placement", "position", "recommendation_id", "consent")
    ann, phone = api.key("ann"), api.device("phone")
    assert [tuple(row[name] for name in names) for row in api.lake()] == [
        ("api:r1#4", ann, phone, "cup", "home", 4, "r1", None),
        ("api:r1#5", ann, phone, "pan", "home", 5, "r1", None),
        ("api:r2#1", phone, phone, "pan", "mail", 1, "r2", True),
    ]
    assert {(row["event_type"], row["occurred_at"], row["received_at"]) for row in api.lake()} == {
        ("impression", at, at)
    }
    origins = api.rows("SELECT * FROM served_answers ORDER BY 1")
    assert [tuple(row)[:7] for row in origins] == [
        ("r1", "home", 7, 3, "b", 0.25, "table"),
        ("r2", "mail", None, None, None, None, "live"),
        ("r3", "home", None, None, None, None, "popular"),
    ]
    assert origins[0].shown_at == at
    assert origins[2].shown_at < at + timedelta(hours=2)  # a clock that is ahead
    counted = "SELECT since, placement, source, answers FROM answer_counts ORDER BY since, placement"
    first = at.replace(minute=at.minute // 5 * 5, second=0, microsecond=0)
    counts = [tuple(row) for row in api.rows(counted)]
    assert counts[:2] == [(first, "home", "table", 1), (first, "mail", "live", 1)]
    assert [row[1:] for row in counts[2:]] == [("home", "popular", 1)]
    assert api.ledger() | {"routed": 1} == {
        "read": 5, "accepted": 3, "quarantined": 0, "duplicate": 0, "suppressed": 0, "routed": 1,
    }  # fmt: skip
    api.send(together)
    api.move()
    assert len(api.lake()) == api.ledger()["duplicate"] == 3
    assert [tuple(row) for row in api.rows(counted)] == counts


def test_a_batch_has_a_limit_of_messages_and_chunks_of_whole_rows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_chunks, "CHUNK_ROWS", 3)
    groups = [
        [ShownAnswer(f"r{row}-{n}", "home", ("cup",), "table", 1, api.key("ann")) for n in range(2)] for row in range(5)
    ]
    api.send(api.user("ann", consent=True), *map(message_of, groups))
    sizes = []
    with api.here.engine.begin() as connection:
        while batches := messages.claim(connection, "events", messages.Due(), most=7):
            rows = {"name": batches[0].batch_id}
            sizes.append(connection.execute(text("SELECT sum(messages) FROM event_inbox WHERE batch_id = :name"), rows))
    assert [one.scalar_one() for one in sizes] == [8, 2]
    api.move()
    assert len({row["event_id"] for row in api.lake()}) == len(api.lake()) == 10
    assert api.rows("SELECT max(chunk) FROM ingest_chunks") == [(1,)]


def test_rows_behind_those_that_another_process_claims_now_are_claimed(api: Api) -> None:
    groups = [[ShownAnswer(f"r{row}-{n}", "home", ("cup",), "table", 1) for n in range(3)] for row in range(3)]
    api.send(*map(message_of, groups), *(api.act("ann", "cup", consent=True) for _ in range(5)))
    engine = api.here.engine
    with engine.begin() as first, engine.begin() as second, engine.begin() as third:
        claimed = [messages.claim(one, "events", messages.Due(), most=5) for one in (first, second, third)]
        sizes = [
            one.execute(text("SELECT sum(messages) FROM event_inbox WHERE batch_id = :name"), {"name": batch.batch_id})
            for one, (batch,) in zip((first, second, third), claimed, strict=True)
        ]
        # Two rows of three answers; the third one with an act; two more acts, because a batch has two rows by then.
        assert [size.scalar_one() for size in sizes] == [6, 4, 2]
    api.move()
    assert api.ledger()["read"] == 14


def test_updates_change_items_and_hidden_ones_cannot_be_bought(api: Api) -> None:
    api.send(
        api.item("cup", price=2.5, in_stock=False, hidden=True), api.item("new", title="New", attributes={"a": "b"})
    )
    api.send(api.item("cup", in_stock=True))
    api.move()
    cup, new = api.rows("SELECT * FROM items WHERE item_id IN ('cup', 'new') ORDER BY 1")
    assert (cup.title, cup.price, cup.in_stock, cup.available_until is None) == ("Cup", 2.5, True, False)
    assert (new.title, new.attributes, new.available) == ("New", {"a": "b"}, True)
    assert api.rows("SELECT name, value FROM item_history WHERE item_id = 'cup' AND value = '2.5'") == [
        ("price", "2.5")
    ]
    api.send(api.item("cup", hidden=False))
    api.move()
    assert api.rows("SELECT available_until FROM items WHERE item_id = 'cup'") == [(None,)]


def test_a_user_who_agrees_keeps_allowed_traits_and_one_who_refuses_loses_them(api: Api) -> None:
    object.__setattr__(api.here.settings, "user_traits", "age")
    api.send(api.user("ann", consent=True, age="30", email="a@b.example"))
    api.move()
    assert api.rows("SELECT consent, attributes FROM users") == [(True, {"age": "30"})]
    api.send(api.user("ann", consent=False))
    assert api.rows("SELECT consent, attributes FROM users") == [(False, {})]
    api.move()
    assert api.rows("SELECT consent, attributes FROM users") == [(False, {})]
    assert api.rows("SELECT * FROM user_history") == []
    api.send(api.act("ann", "cup"))
    api.move()
    assert api.lake() == []
    api.send(api.user("ann", consent=True))
    api.send(api.act("ann", "cup"))
    api.move()
    assert len(api.lake()) == 1


def test_a_known_user_who_acts_on_a_device_owns_it(api: Api) -> None:
    api.send(api.act(None, "cup", session="phone", consent=True), api.act("ann", "pan", session="phone", consent=True))
    api.move()
    assert {row["user_key"] for row in api.lake()} == {api.key("ann"), api.device("phone")}
    assert api.rows("SELECT anonymous_key, user_key FROM aliases") == [(api.device("phone"), api.key("ann"))]
    assert api.rows("SELECT user_id FROM identity.users") == [("ann",)]


def test_suppressed_users_leave_nothing(api: Api) -> None:
    api.rows("INSERT INTO suppressions (user_key, reason) VALUES (:key, 'left')", key=api.key("ann"))
    api.send(
        api.act("ann", "cup", consent=True), api.user("ann", consent=True, age="30"), api.shown("ann", "r1", "cup")
    )
    api.move()
    assert api.lake() == []
    for table in ("users", "identity.users", "session_profiles", "exclusions", "aliases"):
        assert api.rows(f"SELECT * FROM {table}") == [], table
    assert api.ledger()["suppressed"] == 3


def test_other_sources_have_batches_of_their_own(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True), replace(api.act("ann", "cup", consent=True), source="collector"))
    assert sorted(name.partition("-")[0] for name in api.move()) == ["api", "collector"]
    assert [row["source"] for row in api.lake()] == ["api", "collector"]


def test_moved_rows_expired_profiles_and_old_answers_are_deleted(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True), api.shown("ann", "r1", "cup"))
    api.move()
    api.rows("UPDATE event_inbox SET moved_at = now() - interval '2 days'")
    api.rows("UPDATE session_profiles SET expires_at = now() - interval '1 second'")
    api.rows("UPDATE served_answers SET shown_at = now() - interval '91 days'")
    api.rows("UPDATE answer_counts SET since = now() - interval '3 days'")
    api.move()
    for table in ("event_inbox", "session_profiles", "served_answers", "answer_counts"):
        assert api.rows(f"SELECT * FROM {table}") == [], table


@pytest.mark.parametrize(("period", "ages"), [("2 months", [3, 58]), ("", [3, 58, 64, 4000]), ("1 day", [])])
def test_served_answers_stay_for_the_period_of_the_settings(api: Api, period: str, ages: list[int]) -> None:
    for age in (3, 58, 64, 4000):
        values = f"'{age}', 'home', 'model', now() - interval '{age} days'"
        api.rows(f"INSERT INTO served_answers (recommendation_id, placement, source, shown_at) VALUES ({values})")
    with api.here.engine.begin() as connection:
        remove_outdated(connection, Retention(served_answers=period))
    kept = api.rows("SELECT recommendation_id::int FROM served_answers ORDER BY 1")
    assert [age for (age,) in kept] == ages


def test_a_batch_that_another_process_moves_is_left_to_it(api: Api) -> None:
    api.send(api.item("cup", price=2.0))
    with api.here.engine.begin() as connection:
        (batch,) = messages.claim(connection, "updates", messages.Due())
    with locks.locked(api.here.engine, batch.batch_id):
        assert move_inbox(api.here, "updates", messages.Due()) == []
    assert move_inbox(api.here, "updates", messages.Due()) == [batch.batch_id]


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_move_of_all_that_waits_ends_after_that_of_another_process(api: Api, goes_on: bool) -> None:
    api.send(api.act("ann", "cup", consent=True))
    with api.here.engine.begin() as connection:
        (batch,) = messages.claim(connection, "events", messages.Due())
    with ThreadPoolExecutor(1) as other, ExitStack() as held:
        held.enter_context(locks.locked(api.here.engine, batch.batch_id, purpose="another mover"))
        waiting = other.submit(move_inbox, api.here, "events", messages.Due(), wait=True)
        while not api.rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert not waiting.done()
        if goes_on:
            with pytest.MonkeyPatch.context() as patch:  # it has the lock already
                patch.setattr(ingest_events.locks, "locked", lambda *_, **__: nullcontext(lambda: None))
                move_events(api.here, batch)
        held.close()  # or it was killed
        assert waiting.result() == [batch.batch_id]
    assert len(api.lake()) == 1
    assert api.ledger()["accepted"] == 1


def test_updates_that_another_process_has_just_moved_are_counted_once(api: Api) -> None:
    api.send(api.item("cup", price=2.0), api.user("ann", consent=True))
    with api.here.engine.begin() as connection:
        (batch,) = messages.claim(connection, "updates", messages.Due())
    for _ in range(2):
        move_updates(api.here, batch)
    assert (api.ledger()["routed"], api.ledger()["quarantined"]) == (2, 0)
    assert api.rows("SELECT * FROM quarantine") == []


def test_acts_wait_until_they_are_old_or_many_enough(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True), api.act("ann", "pan", consent=True))
    with api.here.engine.begin() as connection:
        assert messages.claim(connection, "events", messages.Due(seconds=60, messages=3)) == []
        assert messages.claim(connection, "updates", messages.Due()) == []
        (batch,) = messages.claim(connection, "events", messages.Due(seconds=60, messages=2))
        assert messages.claim(connection, "events", messages.Due()) == []
        assert messages.claimed(connection, "events") == [batch]


def test_a_batch_has_a_limit_of_bytes_and_at_least_one_message(api: Api) -> None:
    api.send(*(api.act("ann", "cup", consent=True) for _ in range(5)))
    sizes: list[int] = []
    with api.here.engine.begin() as connection:
        while batches := messages.claim(connection, "events", messages.Due(), most_bytes=100):
            rows = {"name": batches[0].batch_id}
            counted = connection.execute(text("SELECT count(*) FROM event_inbox WHERE batch_id = :name"), rows)
            sizes.append(counted.scalar_one())
        assert messages.claimed(connection, "events")
    assert sum(sizes) == 5
    assert len(sizes) > 1
    api.move()
    assert len(api.lake()) == 5


def test_a_batch_with_an_unforeseen_defect_holds_no_other_batch_back(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True))
    with api.here.engine.begin() as connection:
        (defective,) = messages.claim(connection, "events", AT_ONCE)
    api.rows("UPDATE event_inbox SET payload = '[]'")
    api.send(api.act("ann", "pan", consent=True))
    with pytest.raises(AttributeError):
        api.move()
    assert [event["event_id"] for event in api.lake()] == ["api:m2"]
    assert api.rows("SELECT batch_id FROM event_inbox WHERE moved_at IS NULL") == [(defective.batch_id,)]
