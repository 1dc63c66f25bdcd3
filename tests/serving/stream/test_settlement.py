"""A delivery is stored, known, or a dead letter, with its effects and once; letters are listed and replayed."""

import asyncio
import gzip
import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import pytest
from sqlalchemy import text

from benchmarks.stream.rabbit_server import RabbitServer
from flows.commands import streams
from infra.database.engine import engine
from infra.installation import Installation
from models.errors import TailorbirdError
from serving.queries.dead_letters import Selection, dismiss, letter_rows, letters_naming, letters_to_replay
from serving.stream.consumer import Watch
from serving.stream.delivery import HEAD_BYTES, MOST_ATTEMPTS, DeadLetter, Delivery, received
from serving.stream.replay import replay
from serving.stream.settlement import SettlementQueue
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.stream.clicks import AGREED, KEYS, REFUSES, click, delivery, letters, settlement_of

pytestmark = pytest.mark.anyio
OPEN = Selection()


def profile(inbox: InboxDatabase, user: str) -> list[str]:
    rows = inbox.rows("SELECT items FROM session_profiles WHERE subject = :key", key=KEYS.of(user))
    return list(rows[0]._mapping["items"]) if rows else []


async def test_deliveries_have_one_effect_in_whatever_order_and_however_often_they_come(inbox: InboxDatabase) -> None:
    async with settlement_of(inbox) as settlement:
        first, second, late = click(1, "cup", minutes=2), click(2, "pan", minutes=1), click(3, "old", minutes=3000)
        assert await settlement.settle([delivery(second), delivery(first), delivery(second), delivery(late)]) == []
        assert await settlement.settle([delivery(first), delivery(late)]) == []
        assert settlement.counts == {"stored": 3, "duplicate": 3}
    assert sorted(inbox.ids()) == ["m1", "m2", "m3"]
    assert profile(inbox, "ann") == ["cup", "pan"]
    assert inbox.rows("SELECT DISTINCT source, kind FROM event_inbox") == [("bus", "call")]
    assert inbox.rows("SELECT user_id FROM identity.users") == [("ann",)]
    assert letters(inbox) == []


async def test_an_id_with_another_content_is_a_dead_letter_beside_what_is_stored(inbox: InboxDatabase) -> None:
    async with settlement_of(inbox) as settlement:
        await settlement.settle([delivery(click(1)), delivery(click(1, "pan")), delivery(click(2))])
        await settlement.settle([delivery(click(1, "pan"))])
        assert settlement.counts == {"stored": 2, "id_conflict": 2}
    assert letters(inbox) == [("id_conflict", 2, click(1, "pan"))]
    assert inbox.ids() == ["m1", "m2"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b'{"batch": 5}', b'{"type": "shout", "userId": "ann"}', b"{}"),
        click(1, pad="x" * 40_000),
        click(1, properties=json.loads("[" * 400 + "]" * 400)),
        json.dumps({"batch": [json.loads(click(1)), 5]}).encode(),
        b"[" * 100_000,
    ],
)
async def test_a_message_that_is_no_call_is_a_dead_letter_at_once(inbox: InboxDatabase, body: bytes) -> None:
    async with settlement_of(inbox) as settlement:
        assert await settlement.settle([delivery(body, message_id="a\0b"), delivery(click(7))]) == []
    assert letters(inbox) == [("malformed", 1, body)]
    assert inbox.ids() == ["m7"]
    (detail,) = inbox.rows("SELECT detail FROM identity.dead_letters")[0]
    assert not any(value in detail for value in ("shout", "m1", "xx", "Product"))


async def test_batches_gzip_and_ids_of_the_broker_are_read(inbox: InboxDatabase) -> None:
    nameless = json.dumps({"type": "track", "event": "Product Clicked", "userId": "bob", "context": AGREED}).encode()
    batch = json.dumps({"batch": [json.loads(click(number)) for number in (1, 2)]}).encode()
    async with settlement_of(inbox) as settlement:
        given = [delivery(gzip.compress(batch), encoding="gzip"), delivery(nameless, message_id="from-the-broker")]
        assert await settlement.settle(given) == []
    assert inbox.ids() == ["m1", "m2", "from-the-broker"]


async def test_a_message_that_asks_for_a_segment_waits_for_the_reconciler_once(inbox: InboxDatabase) -> None:
    asked = {"type": "score", "messageId": "s1", "segment": "Regulars"}
    bodies = [json.dumps(one).encode() for one in (asked, asked, {**asked, "segment": "Guests"}, {"type": "score"})]
    async with settlement_of(inbox) as settlement:
        assert await settlement.settle([*map(delivery, bodies)]) == []
    assert inbox.rows("SELECT kind, payload FROM event_inbox") == [("score", {"segment": "Regulars"})]
    assert letters(inbox) == [("id_conflict", 1, bodies[2]), ("malformed", 1, bodies[3])]


async def test_a_message_that_postgres_refuses_is_poison_after_five_attempts_and_holds_up_no_other(
    inbox: InboxDatabase,
) -> None:
    inbox.rows(REFUSES)
    poison = click(0, messageId="poison")
    attempts = []
    async with settlement_of(inbox) as settlement:
        given = [delivery(click(1)), delivery(poison), delivery(click(2)), delivery(click(3))]
        failed: list[Delivery] = await settlement.settle(given)
        assert inbox.ids() == ["m1", "m2", "m3"]
        while failed:
            attempts.append(failed[0].attempts)
            assert letters(inbox) == []
            failed = await settlement.settle(failed)
    assert attempts == [*range(1, MOST_ATTEMPTS)]
    assert letters(inbox) == [("poison", 1, poison)]


async def test_a_message_whose_acknowledgement_fails_has_no_effect_at_all(inbox: InboxDatabase) -> None:
    async def fail(_: asyncpg.Connection) -> None:
        raise ConnectionError

    async with settlement_of(inbox) as settlement:
        with pytest.raises(ConnectionError):
            await settlement.settle([delivery(click(1)), delivery(b"{")], fail)
        assert not settlement.counts
    assert inbox.ids() == []
    assert letters(inbox) == []
    assert profile(inbox, "ann") == []


async def test_a_message_that_is_too_large_leaves_its_head_and_its_hash(inbox: InboxDatabase) -> None:
    whole = click(1, pad="x" * 600_000)
    async with settlement_of(inbox) as settlement:
        cut = [received(whole, "one", ""), received(whole, "one", ""), received(whole[:-1], "one", "gzip")]
        assert max(len(one.body) for one in cut) == HEAD_BYTES
        assert await settlement.settle([*cut, delivery(click(2))]) == []
        assert await settlement.settle([received(whole, "one", "")]) == []
        assert settlement.counts == {"stored": 1, "too_large": 4}
    assert inbox.ids() == ["m2"]
    assert letters(inbox) == [("too_large", 2, whole[:HEAD_BYTES]), ("too_large", 1, whole[:HEAD_BYTES])]
    (detail,) = inbox.rows("SELECT detail FROM identity.dead_letters ORDER BY letter_id")[0]
    assert f"{len(whole):,} bytes" in detail
    assert hashlib.sha256(whole).hexdigest() in detail
    assert "cannot be replayed" in detail


async def test_groups_are_bounded_by_bytes_and_what_is_acknowledged_comes_with_the_last(
    inbox: InboxDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = {"batch": [json.loads(click(number)) for number in range(8)]}
    small = gzip.compress(json.dumps(batch).encode())
    monkeypatch.setattr("serving.stream.settlement._GROUP_BYTES", 3 * len(small))
    stored: list[int] = []

    async def note(connection: asyncpg.Connection) -> None:
        stored.append(await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM event_inbox"))

    async with settlement_of(inbox) as settlement:
        given = [delivery(click(number)) for number in range(100, 110)]
        assert await settlement.settle([delivery(small, encoding="gzip"), *given], note) == []
    assert len(inbox.ids()) == 18
    assert stored[0] > 1, "several transactions"
    assert len(stored) == 1


async def test_a_group_that_takes_too_long_is_stored_in_parts_and_is_not_repeated(
    inbox: InboxDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.rows("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON event_inbox FOR EACH ROW EXECUTE FUNCTION slow()""")
    monkeypatch.setattr("serving.stream.settlement.PATIENCE", 0.5)
    acknowledged: list[int] = []

    async def note(connection: asyncpg.Connection) -> None:
        acknowledged.append(await connection.fetchval("SELECT count(*) FROM event_inbox"))

    async with settlement_of(inbox) as settlement:
        assert await settlement.settle([delivery(click(number)) for number in range(30)], note) == []
        assert settlement.counts == {"stored": 30}
    assert acknowledged == [30]


async def test_a_queue_waits_for_the_database_and_tries_poison_again_beside_the_others(inbox: InboxDatabase) -> None:
    inbox.rows(REFUSES)
    async with settlement_of(inbox) as settlement:
        queue = SettlementQueue(settlement)
        running = asyncio.create_task(queue.run())
        inbox.go_away()
        waiting = [asyncio.create_task(queue.settle(delivery(click(number)))) for number in range(20)]
        bad = asyncio.create_task(queue.settle(delivery(click(0, messageId="poison"))))
        done, _ = await asyncio.wait(waiting, timeout=0.5)
        assert not done
        inbox.come_back()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting, bad)
        running.cancel()
    assert len(inbox.ids()) == 20
    assert [reason for reason, _, _ in letters(inbox)] == ["poison"]


async def test_a_watch_ends_even_if_the_client_of_the_broker_loses_a_cancellation(inbox: InboxDatabase) -> None:
    ended, asked = asyncio.Event(), asyncio.Event()

    async def lag() -> int:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)
        return 3

    async with settlement_of(inbox) as settlement:
        watching = asyncio.create_task(Watch(settlement, "q", lag).run(ended))
        await asked.wait()
        ended.set()
        watching.cancel()
        await asyncio.wait_for(watching, 10)
    assert inbox.rows("SELECT queue, source, lag FROM streams") == [("q", "bus", 3)]


def tailorbird(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_password_or_address_that_is_wrong_is_a_sentence(rabbit: RabbitServer, installation: Installation) -> None:
    assert installation.settings.stream_url is None
    refused = tailorbird("consume", rabbit.url.replace("guest:guest", "guest:secret-word"))
    assert (refused.returncode, "secret-word" in refused.stderr) == (1, False)
    assert "RabbitMQ refuses the login. Correct user, password and virtual host in the address." in refused.stderr
    unknown = tailorbird("consume", "nats://127.0.0.1/")
    assert unknown.returncode == 1
    assert "Write it as amqp://" in unknown.stderr
    pathless = tailorbird("consume", "kafka://127.0.0.1:9092/two/topics")
    assert (pathless.returncode, "kafka://host:9092/topic" in pathless.stderr) == (1, True)
    for place in ("host:99999", "[::1"):
        unreadable = tailorbird("consume", f"kafka://{place}/x")
        assert (unreadable.returncode, "kafka://host:9092/topic" in unreadable.stderr) == (1, True)
    nameless = tailorbird("consume")
    assert (nameless.returncode, "or set stream_url" in nameless.stderr) == (1, True)


def test_letters_are_listed_shown_replayed_and_dismissed(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    with installation.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO identity.dead_letters (source, reason, detail, body, digest) "
                "VALUES ('stream', 'broker', 'Given up.', :body, 'a'), ('stream', 'malformed', 'No JSON.', 'x', 'b')"
            ),
            {"body": click(1)},
        )
    [listed] = json.loads(tailorbird("dead-letters", "list", "--reason", "broker", "--json").stdout)
    number = str(listed["letter_id"])
    assert json.loads(tailorbird("dead-letters", "show", number, "--json").stdout)["body"] == click(1).decode()
    dry = tailorbird("dead-letters", "replay", "--dry-run")
    assert "stored" in dry.stdout
    assert "Nothing was stored: this was a dry run." in dry.stderr
    replayed = json.loads(tailorbird("dead-letters", "replay", "--json").stdout)
    assert [one["outcome"] for one in replayed] == ["stored", "malformed"]
    gone = tailorbird("dead-letters", "replay", number)
    assert gone.returncode == 1
    assert f"No dead letter waits with the number {number}." in gone.stderr
    with pytest.raises(TailorbirdError, match="Name letters by their numbers, or a user with --user"):
        streams.dismiss()
    streams.dismiss(user="ann", as_json=True)
    assert json.loads(capsys.readouterr().out) == [int(number)]


def test_letters_of_a_user_are_found_packed_or_broken_and_those_of_others_are_not(installation: Installation) -> None:
    of_user = (click(1, user="Zoë"), b"lost: Zo\xc3\xab, cup")
    packed = gzip.compress(of_user[0])
    others = click(3, user="Zoëlle"), b"Zo"
    rows = [(body, "") for body in (*of_user, *others)] + [(packed, "gzip"), (of_user[0], "gzip")]
    with installation.engine.begin() as connection:
        for number, (body, encoding) in enumerate(rows):
            values = {"body": body, "encoding": encoding, "digest": str(number).encode()}
            connection.execute(
                text(
                    "INSERT INTO identity.dead_letters (source, reason, detail, body, encoding, digest) "
                    "VALUES ('bus', 'malformed', 'No JSON.', :body, :encoding, :digest)"
                ),
                values,
            )
    assert letters_naming(installation.engine, "Zoë") == [1, 2, 5, 6]
    with pytest.raises(TailorbirdError, match="There is no dead letter 99"):
        dismiss(installation.engine, [1, 99])
    assert dismiss(installation.engine, [1, 2]) == [1, 2]
    assert letters_naming(installation.engine, "Zoë") == [5, 6]


async def replayed(inbox: InboxDatabase, selection: Selection = OPEN, *, dry_run: bool = False) -> dict[int, str]:
    async with settlement_of(inbox) as settlement:
        chosen = letters_to_replay(engine(inbox.url), selection)
        done = await replay(settlement.pool, chosen, lambda _: settlement.reader, dry_run=dry_run)
        return {one["letter_id"]: one["outcome"] for one in done}


@pytest.fixture
async def kept(inbox: InboxDatabase) -> InboxDatabase:
    """An inbox beside letters of every kind: 1 can be stored, 2 was stored meanwhile, 3, 4 and 5 can never be."""
    async with settlement_of(inbox) as settlement:
        await settlement.settle([delivery(click(2)), delivery(click(3))])
        given_up = [click(1), click(2)]
        await settlement.give_up([DeadLetter(delivery(body), "broker", "Given up.") for body in given_up])
        padded = received(click(5) + b" " * 600_000, None, "")  # its head alone is a sound call
        for one in (delivery(click(3, "pan")), delivery(b"{", message_id="m9"), padded):
            await settlement.settle([one])
    return inbox


async def test_a_replay_stores_what_can_be_stored_and_leaves_the_others(kept: InboxDatabase) -> None:
    expected = {1: "stored", 2: "duplicate", 3: "id_conflict", 4: "malformed", 5: "too_large"}
    assert await replayed(kept, dry_run=True) == expected
    assert kept.ids() == ["m2", "m3"]
    assert len(letter_rows(engine(kept.url), OPEN)) == 5
    assert await replayed(kept) == expected
    assert kept.ids() == ["m2", "m3", "m1"]
    assert await replayed(kept) == {3: "id_conflict", 4: "malformed", 5: "too_large"}
    assert [row["letter_id"] for row in letter_rows(engine(kept.url), Selection(replayed=True))] == [1, 2, 3, 4, 5]


async def test_letters_are_chosen_by_source_reason_and_number(kept: InboxDatabase) -> None:
    database = engine(kept.url)
    assert [row["reason"] for row in letter_rows(database, Selection(reason="broker"))] == ["broker", "broker"]
    assert letter_rows(database, Selection(source="elsewhere")) == []
    assert await replayed(kept, Selection(ids=(2,))) == {2: "duplicate"}
    with pytest.raises(TailorbirdError, match="No dead letter waits with the number 2"):
        await replayed(kept, Selection(ids=(1, 2)))


async def test_a_letter_that_is_delivered_again_after_its_replay_waits_again(kept: InboxDatabase) -> None:
    await replayed(kept, Selection(reason="broker"))
    async with settlement_of(kept) as settlement:
        await settlement.give_up([DeadLetter(delivery(click(1)), "broker", "Given up.")])
    (row,) = letter_rows(engine(kept.url), Selection(reason="broker"))
    assert (row["letter_id"], row["times"], row["replayed_at"]) == (1, 2, None)
    assert row["last_at"] > row["first_at"] < datetime.now(UTC)
