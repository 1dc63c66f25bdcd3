"""Commands of streams: mistakes are sentences, and letters are listed, shown and replayed."""

import gzip
import json
import subprocess
import sys

import pytest
from sqlalchemy import text

from benchmarks.stream.rabbit_server import RabbitServer
from flows.commands import streams
from infra.installation import Installation
from models.errors import TailorbirdError
from serving.queries.dead_letters import dismiss, letters_naming
from tests.serving.stream.clicks import click


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
