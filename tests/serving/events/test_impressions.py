"""Answers are logged in full or as a sample, within a second, and their callers do not wait."""

import time
from collections import Counter

from serving.events.impressions import ImpressionLog, ShownAnswers, is_logged
from serving.events.shown_answer import ShownAnswer, message_of
from serving.events.store import Group, Messages
from serving.events.writer import EventWriter
from tests.serving.events.inbox_database import InboxDatabase, until


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
    row = inbox.rows("SELECT kind, user_key, payload FROM event_inbox WHERE message_id = 'r7'")[0]
    assert (row.kind, row.user_key, row.payload["items"]) == ("impressions", "ann", ["cup", "pan"])


def test_closing_stores_what_waits_and_the_spool_takes_it_during_an_outage(inbox: InboxDatabase) -> None:
    async def work(writer: EventWriter) -> None:
        log = ImpressionLog(writer)
        inbox.go_away()
        log.log(shown(1))
        await log.close()
        assert writer.counts.impressions == {"spooled": 1}
        inbox.come_back()
        await until(writer.spool.is_empty)

    inbox.run(work)
    assert inbox.ids() == ["r1"]


def test_an_answer_has_the_same_row_with_and_without_the_spool(inbox: InboxDatabase) -> None:
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
        ShownAnswer("r2", "home", (), "popular", 1),
    ]
    columns = "source, message_id, kind, user_key, session_key, key_version, consent, payload, digest, received_at"

    def rows_of(group: Group) -> list[tuple[object, ...]]:
        async def work(writer: EventWriter) -> None:
            assert await writer.persist(group, Counter()) == ["stored", "stored"]

        inbox.run(work)
        found = inbox.rows(f"SELECT {columns} FROM event_inbox ORDER BY message_id")
        inbox.rows("DELETE FROM event_inbox")
        return [tuple(row) for row in found]

    assert rows_of(ShownAnswers(answers)) == rows_of(Messages([message_of(one) for one in answers]))


def test_a_sample_is_the_same_every_time_and_has_its_share() -> None:
    ids = [f"r{number}" for number in range(20_000)]
    chosen = {one for one in ids if is_logged(one, 0.1)}
    assert 0.09 < len(chosen) / len(ids) < 0.11
    assert chosen == {one for one in ids if is_logged(one, 0.1)}
    assert chosen < {one for one in ids if is_logged(one, 0.3)}
    assert not any(is_logged(one, 0.0) for one in ids)


def test_answers_outside_the_sample_are_counted(inbox: InboxDatabase) -> None:
    async def work(writer: EventWriter) -> None:
        log = ImpressionLog(writer, share=0.5)
        for number in range(100):
            log.log(shown(number))
        await log.close()
        assert writer.counts.impressions["stored"] + writer.counts.impressions["sampled_out"] == 100

    inbox.run(work)
    assert 25 < len(inbox.ids()) < 75
