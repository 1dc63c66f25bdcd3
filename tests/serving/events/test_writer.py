"""Messages are durable before their receipts, wait on disk while Postgres is down, and log the answers shown."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.events import store
from serving.events.clock import DatabaseClock
from serving.events.impressions import ImpressionLog, ShownAnswer, is_logged, message_of
from serving.events.message import Message, RefusedMessageError, Sender, feedback_message, user_message
from serving.events.spool import Spool, SpoolFullError
from serving.live.visitor_facts import latest_items, latest_items_of_all
from tests.serving.events.inbox_database import InboxDatabase, click
from tests.serving.made_up_shop import until

pytestmark = pytest.mark.anyio


async def test_the_same_message_twice_has_one_effect_and_other_content_is_a_conflict(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        first = click(1)
        assert await writer.write(first, replace(first), click(1, item="pan")) == ["stored", "duplicate", "conflict"]
        assert await writer.write(click(1)) == ["duplicate"]
        assert await writer.write(click(1, item="pan")) == ["conflict"]
        assert writer.counts.messages == {"stored": 1, "duplicate": 2, "conflict": 2}
    assert inbox.ids() == ["m1"]


async def test_callers_at_the_same_time_share_transactions(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        receipts = await asyncio.gather(*(writer.write(click(number)) for number in range(300)))
        assert receipts == [["stored"]] * 300
    transactions = inbox.rows("SELECT count(DISTINCT xmin::text) AS n, count(*) AS rows FROM event_inbox")[0]
    assert transactions.rows == 300
    assert transactions.n < 30


async def test_the_calls_of_page_keys_are_summed_over_all_processes(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer, inbox.writer() as other:
        calls = [replace(click(number), charged=(f"key-{number % 3}", 100 + number)) for number in range(300)]
        await asyncio.gather(*((writer, other)[number % 2].write(call) for number, call in enumerate(calls)))
        await writer.write(calls[0], calls[0], click(300))  # repeated calls count, and others do not
    today, used = (
        datetime.now(UTC).date(),
        inbox.rows("SELECT day, key_id, calls, bytes FROM key_usage ORDER BY key_id"),
    )
    sizes = [[100 + number for number in range(300) if number % 3 == key] for key in range(3)]
    sizes[0] += [100, 100]
    assert used == [(today, f"key-{key}", len(own), sum(own)) for key, own in enumerate(sizes)]


async def test_visitors_are_known_from_an_earlier_day_by_their_first_agreement_or_their_first_user(
    inbox: InboxDatabase,
) -> None:
    inbox.rows(
        "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id, first_seen_on) VALUES "
        "('known', '{}', true, '', '', current_date - 2), ('today', '{}', true, '', '', DEFAULT)"
    )
    inbox.rows(
        "INSERT INTO aliases (anonymous_key, user_key, batch_id, occurred_at) VALUES "
        "('known device', 'u', '', now() - interval '2 days'), ('device of today', 'known', '', now())"
    )
    async with inbox.writer() as writer:
        assert not await writer.any_is_new({"known", "known device"})
        for new in ("today", "device of today", "nobody", None):
            assert await writer.any_is_new({"known", new}), new
        inbox.go_away()
        with pytest.raises(SpoolFullError):
            await writer.any_is_new({"known"})
        inbox.come_back()


async def test_an_unusable_text_is_refused_to_its_caller_alone(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        good, *bad = await asyncio.gather(
            writer.write(click(1)),
            writer.write(click(2, item="a\0b")),
            writer.write(click(3, item="\ud800")),
            return_exceptions=True,
        )
        assert good == ["stored"]
        assert all(isinstance(one, RefusedMessageError) for one in bad)
        assert await writer.write(click(4, item="\\u0000 '; DROP 🙂 \u202e")) == ["stored"]
    assert inbox.ids() == ["m1", "m4"]


async def test_not_interested_hides_the_item_at_once(inbox: InboxDatabase) -> None:
    act = feedback_message({"kind": "not_interested", "item_id": "cup"}, Sender(1, "ann"), "m1")
    gone = feedback_message({"kind": "not_interested", "item_id": "cup"}, Sender(1, "eve"), "m2")
    inbox.rows("INSERT INTO suppressions (user_key, reason) VALUES ('eve', 'left')")
    async with inbox.writer() as writer:
        await writer.write(act, gone)
    assert inbox.rows("SELECT user_key, kind, value FROM exclusions") == [("ann", "item", "cup")]
    assert inbox.rows("SELECT payload ->> 'event_type' FROM event_inbox WHERE user_key = 'ann'") == [("dislike",)]


async def test_withdrawn_consent_counts_before_the_receipt(inbox: InboxDatabase) -> None:
    inbox.rows(
        "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
        """VALUES ('ann', '{"age": "30"}', true, 'form', 'b1')"""
    )
    async with inbox.writer() as writer:
        await writer.write(click(1, user_key="ann", consent=None))
        assert (await latest_items(writer.pool, "ann", None)).items == ("cup",)
        no = user_message({"age": "40"}, (), Sender(1, "ann", consent=False), "m2")
        assert await writer.write(no) == ["stored"]
        assert (await latest_items(writer.pool, "ann", None)).items == ()
        await writer.write(click(3, user_key="ann", consent=True))
        assert (await latest_items(writer.pool, "ann", None)).items == ()
    assert inbox.rows("SELECT consent, attributes, refused_at = consent_at FROM users") == [(False, {}, True)]


async def test_an_unknown_user_who_agrees_or_refuses_is_known_and_an_older_answer_changes_nothing(
    inbox: InboxDatabase,
) -> None:
    async with inbox.writer() as writer:
        for number, (key, agrees) in enumerate({"ann": True, "bob": False}.items()):
            sender = Sender(1, key, user_id=f"raw {key}", consent=agrees)
            await writer.write(user_message({}, (), sender, f"m{number}"))
        yes = user_message({}, (), Sender(1, "bob", consent=True), "m2")
        await writer.write(replace(yes, received_at=yes.received_at.replace(year=2020)))
    assert inbox.rows("SELECT user_key, consent FROM users ORDER BY 1") == [("ann", True), ("bob", False)]
    assert inbox.rows("SELECT user_key, user_id FROM identity.users") == [("ann", "raw ann")]


async def test_profiles_hold_the_latest_items_of_visitors_with_consent(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        device = {"user_key": None, "session_key": "device", "consent": True}
        for number in range(60):
            await writer.write(click(number, item=f"item {number}", **device))
        await writer.write(click(100, item="item 55", **device))
        await writer.write(click(101, user_key="unknown", consent=None))
        found = (await latest_items(writer.pool, None, "device")).items
        assert found[-3:] == ("item 58", "item 59", "item 55")
        assert len(found) == 49
        assert (await latest_items(writer.pool, "unknown", None)).items == ()


async def test_purchases_are_known_as_such_and_no_number_of_clicks_displaces_them(inbox: InboxDatabase) -> None:
    def act(number: int, kind: str, item: str, **sender: Any) -> Message:
        return feedback_message({"kind": kind, "item_id": item}, Sender(1, consent=True, **sender), f"m{number}")

    async with inbox.writer() as writer:
        device: dict[str, Any] = {"session_key": "device"}
        await writer.write(act(0, "click", "cup", **device), act(1, "purchase", "cup", **device))
        await writer.write(*(act(number, "view", f"item {number}", **device) for number in range(2, 80)))
        for number in range(80, 120):
            await writer.write(act(number, "click", f"item {number}", **device))
        await writer.write(act(120, "purchase", "pan", **device), act(121, "click", "pan", **device))
        read = await latest_items(writer.pool, None, "device")
        assert read.bought == {"cup", "pan"}
        assert (len(read.items), read.items[0], read.items[-1]) == (51, "cup", "pan")
        await writer.pool.execute(store.JOIN, ["device"], ["ann"], [False], [False])
        assert await latest_items(writer.pool, "ann", None) == read
        inbox.rows("UPDATE session_profiles SET kinds = '{}'")  # of an earlier version
        assert await latest_items(writer.pool, "ann", None) == read._replace(bought=frozenset())
        await writer.write(act(122, "purchase", "pot", user_key="ann"))
        assert (await latest_items(writer.pool, "ann", None)).bought == {"pot"}


async def test_profiles_of_several_visitors_are_read_together_until_they_expire(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        await writer.write(click(1, item="pan", user_key=None, session_key="device", consent=True))
        await writer.write(click(2, item="cup", user_key="ann"))
        asked = [("ann", None), (None, None), ("unknown", "device"), ("ann", "device")]
        found = await latest_items_of_all(writer.pool, asked)
        assert [one.items for one in found] == [("cup",), (), ("pan",), ("pan", "cup")]
        inbox.rows("UPDATE session_profiles SET expires_at = now() - interval '1 second'")
        assert (await latest_items(writer.pool, "ann", None)).items == ()
        await writer.write(click(3, item="pot", user_key="ann"))
        assert (await latest_items(writer.pool, "ann", None)).items == ("pot",)


async def test_times_of_receipt_are_by_the_clock_of_the_database_and_never_in_the_future(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        clock = DatabaseClock(ahead=timedelta(days=-400))
        await clock.compare(writer.pool)
        assert abs((clock.now() - await writer.pool.fetchval("SELECT now()")).total_seconds()) < 5
        await writer.write(replace(click(1), received_at=DatabaseClock(timedelta(days=3)).now()))
    assert inbox.rows("SELECT received_at <= now() FROM event_inbox") == [(True,)]


async def test_an_answer_of_the_database_that_takes_long_does_not_move_the_clock(inbox: InboxDatabase) -> None:
    class Slow:
        async def fetchval(self, query: str) -> datetime:
            await asyncio.sleep(1)
            moment: datetime = await writer.pool.fetchval(query)
            await asyncio.sleep(1)
            return moment

    async with inbox.writer() as writer:
        clock = DatabaseClock()
        await clock.compare(Slow())
    assert abs(clock.ahead) < timedelta(seconds=0.8)


async def test_profiles_are_in_order_of_time_whatever_the_order_of_arrival(inbox: InboxDatabase) -> None:
    now = datetime.now(UTC)

    def act(number: int, minutes: float, user: str = "ann") -> Message:
        acted = {"kind": "click", "item_id": f"item {minutes:g}", "occurred_at": now - timedelta(minutes=minutes)}
        return feedback_message(acted, Sender(1, user, consent=True), f"m{number}")

    async with inbox.writer() as writer:
        await writer.write(act(1, 3), act(2, 5))
        await writer.write(act(3, 4))
        await writer.write(act(4, 1))
        await writer.write(act(5, 2), act(6, 25 * 60), act(7, -60))
        expected = [f"item {minutes}" for minutes in (5, 4, 3, 2, 1, -60)]
        assert list((await latest_items(writer.pool, "ann", None)).items) == expected
        many = [act(number, number - 100, "bob") for number in range(101, 171)]
        for one in reversed(many):
            await writer.write(one)
        assert (await latest_items(writer.pool, "bob", None)).items == tuple(f"item {age}" for age in range(50, 0, -1))
        await writer.write(act(8, 26 * 60, "eve"))
    (row,) = inbox.rows("SELECT expires_at > now() + interval '23 hours' FROM session_profiles WHERE subject = 'ann'")
    assert row[0]
    assert inbox.rows("SELECT FROM session_profiles WHERE subject = 'eve'") == []


async def test_messages_wait_in_private_files_and_return_in_order(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        await writer.write(click(0))
        inbox.go_away()
        for number in range(1, 40):
            assert await writer.write(click(number, user_id="77")) == ["spooled"]
        assert writer.spool.state()["messages"] == 39
        assert {path.stat().st_mode & 0o077 for path in [inbox.folder, *inbox.folder.iterdir()]} == {0}
        inbox.come_back()
        await until(lambda: writer.available and writer.spool.is_empty())
        assert await writer.write(click(40)) == ["stored"]
        assert writer.counts.replayed == 39
    assert inbox.ids() == [f"m{number}" for number in range(41)]


async def test_a_full_spool_refuses_counts_and_keeps_what_it_has(inbox: InboxDatabase) -> None:
    async with inbox.writer(3000) as writer:
        inbox.go_away()
        spooled = 0
        while sum(one.stat().st_size for one in writer.spool.folder.glob("*.jsonl")) + 300 < 3_000:
            spooled += len(await writer.write(click(spooled)))
        with pytest.raises(SpoolFullError, match="again later"):
            await writer.write(click(98), click(99))
        assert spooled > 3
        assert writer.counts.messages["dropped"] == writer.spool.state()["dropped"] == 2
        inbox.come_back()
        await until(lambda: writer.available)
        assert len(inbox.ids()) == spooled


def test_a_spool_whose_folder_cannot_be_made_refuses_like_a_full_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolFullError, match="cannot be written: Not a directory"):
        Spool(tmp_path / "file" / "spool", 3_000).append([click(1)])


def test_refused_messages_of_a_user_are_deleted_and_others_stay(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 3_000)
    assert spool.erase_refused({"one"}) == 0
    spool.folder.mkdir()
    spool.refuse([b'1 {"user_key":"one"}\n', b'2 {"user_key":"two"}\n', b'3 {"session_key":"one"}\n'])
    assert spool.erase_refused({"one"}) == 2
    assert (spool.folder / "refused.jsonl").read_bytes() == b'2 {"user_key":"two"}\n'


async def test_another_process_replays_what_a_killed_one_left(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        inbox.go_away()
        await writer.write(click(1), click(2))
    with (inbox.folder / "open.jsonl").open("ab") as file:
        file.write(b'0000 {"message_id": "cut sho')
    async with inbox.writer() as writer:
        await writer.write(click(3))
        inbox.come_back()
        await until(writer.spool.is_empty)
        assert writer.counts.replayed == 3
    assert inbox.ids() == ["m1", "m2", "m3"]


async def test_a_replay_that_was_cut_short_is_repeated_without_a_double(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        inbox.go_away()
        await writer.write(*(click(number) for number in range(5)))
    left = (inbox.folder / "open.jsonl").read_bytes()
    inbox.come_back()
    for _ in range(2):
        async with inbox.writer() as writer:
            await until(writer.spool.is_empty)
        (inbox.folder / "segment-000000000001.jsonl").write_bytes(left)
    assert inbox.ids() == [f"m{number}" for number in range(5)]


async def test_messages_that_the_database_refuses_or_the_disk_damaged_are_kept_apart(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        inbox.go_away()
        await writer.write(click(1), replace(click(2), kind="nonsense"), click(3))  # type: ignore[arg-type]
        with (inbox.folder / "open.jsonl").open("ab") as file:
            file.write(b"00000000 {}\n")
        inbox.come_back()
        await until(writer.spool.is_empty)
        assert writer.spool.state()["refused"] == 2
    assert inbox.ids() == ["m1", "m3"]


def shown(number: int) -> ShownAnswer:
    return ShownAnswer(f"r{number}", "home", ["cup", "pan"], "table", 1, "ann", batch_id=3, model_version=2)


async def test_answers_are_durable_within_a_second_and_logging_takes_no_time(inbox: InboxDatabase) -> None:
    async with inbox.writer() as writer:
        log = ImpressionLog(writer)
        await log.start()
        start = time.perf_counter()
        for number in range(1000):
            log.log(shown(number))
        took = time.perf_counter() - start
        await until(lambda: writer.counts.impressions["stored"] == 1000, 1.0)
        await log.close()
    assert took / 1000 < 1e-4
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


async def test_answers_have_the_same_row_with_and_without_the_spool(inbox: InboxDatabase) -> None:
    about: dict[str, Any] = {"first_position": 4, "batch_id": 3, "model_version": 2, "variant": "b"}
    about |= {"propensity": 0.25, "consent": True}
    lately = datetime.now(UTC) - timedelta(seconds=9)  # the database takes no time that is ahead of its own
    answers = [
        ShownAnswer("r1", "home", ("cup", 'pä"n\\'), "live", 2, "ann", "phone", **about),
        ShownAnswer("r2", "home", (), "popular", 2, shown_at=lately),
    ]
    message, rows = message_of(answers), []
    columns = "source, kind, user_key, session_key, key_version, consent, payload, digest, received_at, messages"
    for is_down in (False, True):
        async with inbox.writer() as writer:
            if is_down:
                inbox.go_away()
            assert await writer.persist([message], Counter()) == ["spooled" if is_down else "stored"]
            inbox.come_back()
            await until(writer.spool.is_empty)
        rows += inbox.rows(f"SELECT {columns} FROM event_inbox")
        inbox.rows("DELETE FROM event_inbox")
    assert len(rows) == 2
    assert rows[0] == rows[1]


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
    rows = inbox.rows("SELECT payload FROM event_inbox")
    assert 25 < sum(len(row.payload["recommendation_id"]) for row in rows) < 75
