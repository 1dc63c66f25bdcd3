"""Answers are logged in full or as a sample, within a second, and their callers do not wait."""

import time
from collections import Counter
from dataclasses import replace

import pytest

from serving.events.impressions import ImpressionLog, ShownAnswer, is_logged, message_of
from serving.events.writer import EventWriter
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.made_up_shop import until

pytestmark = pytest.mark.anyio


def shown(number: int) -> ShownAnswer:
    return ShownAnswer(f"r{number}", "home", ["cup", "pan"], "table", 1, "ann", batch_id=3, model_version=2)


def test_answers_are_durable_within_a_second_and_logging_takes_no_time(inbox: InboxDatabase) -> None:
    async def work(writer: EventWriter) -> float:
        log = ImpressionLog(writer)
        await log.start()
        start = time.perf_counter()
        for number in range(1000):
            log.log(shown(number))
        took = time.perf_counter() - start
        await until(lambda: writer.counts.impressions["stored"] == 1000, 1.0)
        await log.close()
        return took

    assert inbox.run(work) / 1000 < 1e-4
    rows = inbox.rows("SELECT kind, messages, payload FROM event_inbox ORDER BY inbox_id")
    assert sum(row.messages for row in rows) == 1000 > 10 * len(rows)
    ids = [one for row in rows for one in row.payload["recommendation_id"]]
    assert ids == [f"r{number}" for number in range(1000)]
    assert (rows[0].kind, rows[0].payload["items"][7]) == ("answers", ["cup", "pan"])


async def test_answers_under_two_keys_are_two_messages_and_a_full_spool_counts_each(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        log = ImpressionLog(writer)
        for number in range(5):
            log.log(replace(shown(number), key_version=1 + number // 3))
        await log.close()
        inbox.go_away()
        log.log(shown(5))
        log.log(shown(6))
        writer.spool.limit = 0
        await log.close()
        assert writer.counts.impressions == {"stored": 5, "dropped": 2}
        assert writer.spool.state()["dropped"] == 2
        inbox.come_back()
    assert [tuple(row) for row in inbox.rows("SELECT key_version, messages FROM event_inbox")] == [(1, 3), (2, 2)]


def test_answers_have_the_same_row_with_and_without_the_spool(inbox: InboxDatabase) -> None:
    about = {
        "first_position": 4,
        "batch_id": 3,
        "model_version": 2,
        "variant": "b",
        "propensity": 0.25,
        "consent": True,
    }
    answers = [
        ShownAnswer("r1", "home", ("cup", 'pä"n\\'), "live", 2, "ann", "phone", **about),  # type: ignore[arg-type]
        ShownAnswer("r2", "home", (), "popular", 2),
    ]
    message = message_of(answers)
    columns = "source, kind, user_key, session_key, key_version, consent, payload, digest, received_at, messages"

    def row_of(first: str, *more: str) -> tuple[object, ...]:
        async def work(writer: EventWriter) -> None:
            if more:
                inbox.go_away()
            assert await writer.persist([message], Counter()) == [first]
            if more:
                inbox.come_back()
                await until(writer.spool.is_empty)

        inbox.run(work)
        (found,) = inbox.rows(f"SELECT {columns} FROM event_inbox")
        inbox.rows("DELETE FROM event_inbox")
        return tuple(found)

    assert row_of("stored") == row_of("spooled", "returned")


def logged(inbox: InboxDatabase) -> list[str]:
    """The answers in the inbox, in order."""
    rows = inbox.rows("SELECT payload FROM event_inbox ORDER BY inbox_id")
    return [one for row in rows for one in row.payload["recommendation_id"]]


def test_a_sample_is_the_same_every_time_and_has_its_share() -> None:
    ids = [f"r{number}" for number in range(20_000)]
    chosen = {one for one in ids if is_logged(one, 0.1)}
    assert 0.09 < len(chosen) / len(ids) < 0.11
    assert chosen == {one for one in ids if is_logged(one, 0.1)}
    assert chosen < {one for one in ids if is_logged(one, 0.3)}
    assert not any(is_logged(one, 0.0) for one in ids)


async def test_answers_outside_the_sample_are_counted(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        log = ImpressionLog(writer, share=0.5)
        for number in range(100):
            log.log(shown(number))
        await log.close()
        assert writer.counts.impressions["stored"] + writer.counts.impressions["sampled_out"] == 100
    assert 25 < len(logged(inbox)) < 75
