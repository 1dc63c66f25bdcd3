"""Commands of streams: mistakes are sentences, and letters are listed, shown and replayed."""

import json
import subprocess
import sys

from sqlalchemy import text

from benchmarks.stream.rabbit_server import RabbitServer
from infra.installation import Installation
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
    nameless = tailorbird("consume")
    assert (nameless.returncode, "or set stream_url" in nameless.stderr) == (1, True)


def test_letters_are_listed_shown_and_replayed(installation: Installation) -> None:
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
