"""Commands of streams: mistakes are sentences, and letters are listed, shown and replayed with their own ids."""

import asyncio
import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from benchmarks.stream.rabbit_server import RabbitServer
from flows.commands import streams
from infra.database.engine import engine
from infra.installation import Installation
from models.errors import TailorbirdError
from serving.queries.dead_letters import Selection, dismiss, letter_rows, letters_naming, letters_to_replay
from serving.stream.delivery import DeadLetter, received
from serving.stream.replay import replay
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.stream.clicks import click, delivery, settlement_of

OPEN = Selection()


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

    async def run() -> None:
        async with settlement_of(inbox) as settlement:
            await settlement.settle([delivery(click(2)), delivery(click(3))])
            given_up = [click(1), click(2)]
            await settlement.give_up([DeadLetter(delivery(body), "broker", "Given up.") for body in given_up])
            padded = received(click(5) + b" " * 600_000, None, "")  # its head alone is a sound call
            for one in (delivery(click(3, "pan")), delivery(b"{", message_id="m9"), padded):
                await settlement.settle([one])

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
