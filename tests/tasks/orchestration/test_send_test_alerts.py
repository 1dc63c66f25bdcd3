"""Test alerts go to real web servers. `tests/flows/test_automations.py` takes the blocks of a real Prefect."""

from typing import Any

import pytest
from prefect.blocks.notifications import SlackWebhook
from pydantic import SecretStr

from infra.configuration.settings import Settings
from infra.prefect_api.notification_blocks import receivers
from models.errors import TailorbirdError
from tasks.orchestration.send_test_alerts import send, send_test_alerts
from tests.recording_server import RecordingServer


class Refusing(RecordingServer):
    """Refuses every alert."""

    def answer(self, _path: str, _payload: Any) -> tuple[int, Any]:
        return 403, None


def block(address: str) -> SlackWebhook:
    """Return a block as Prefect stores it for an address."""
    return SlackWebhook(url=SecretStr(address))


def test_a_receiver_gets_a_test_alert_in_words() -> None:
    with RecordingServer() as receiver:
        assert send(block(f"{receiver.url.replace('http', 'json')}/alerts")) == ""
        [(path, payload)] = receiver.received
    assert (path, payload["title"]) == ("/alerts", "Tailorbird: a test alert")
    assert "alerts arrive here" in payload["message"]


def test_a_receiver_that_refuses_or_is_away_is_an_error_without_its_secrets() -> None:
    with Refusing() as receiver:
        address = receiver.url.replace("http://", "json://ann:hunter2@")
        refused = send(block(f"{address}/alerts"))
    away = send(block(f"{address}/alerts"))
    assert "error=403" in refused
    assert "onnection" in away
    assert "hunter2" not in refused + away


def test_without_a_receiver_the_error_names_the_setting() -> None:
    with pytest.raises(TailorbirdError, match=r"`alerts` in tailorbird.toml, or in TAILORBIRD_ALERTS"):
        send_test_alerts(Settings())


def test_receivers_are_the_blocks_of_the_addresses_and_the_named_ones() -> None:
    entries = "json://127.0.0.1:1/a,block:pager-duty-webhook/night,json://127.0.0.1:2/b"
    assert receivers(Settings(alerts=SecretStr(entries))) == {
        "slack-webhook/tailorbird-alerts-1": "json://127.0.0.1:1/a",
        "pager-duty-webhook/night": "",
        "slack-webhook/tailorbird-alerts-2": "json://127.0.0.1:2/b",
    }
