"""Automations and alerts in the real Prefect: alerts arrive, and `up` creates each automation once."""

from __future__ import annotations

import json
import socketserver
import time
from collections.abc import Iterator
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from infra.prefect_api import deployments, events, flow_runs
from infra.services.endpoints import Endpoints
from models.primitives.json_types import JsonObject
from tests.recording_server import RecordingServer
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Shop

OURS = "tailorbird:"
FAILED = "Tailorbird: score failed"
EVENTS = {
    events.DRIFT: "drift was detected",
    events.BROKEN_FEED: "feed of events is broken",
    events.LOW_ACCURACY: "below its band",
    events.SLOW_SERVING: "serving is slow",
    events.EXPIRED_REVIEW: "nobody decided",
    events.STALE_LISTS: "stale",
    events.GATE_REFUSED: "the gate refused",
    events.AUDIT: "beyond its margin",
    events.GIVEN_UP: "given up",
}


class Post(socketserver.ThreadingTCPServer):
    """A minimal SMTP server, which keeps the messages in `mails`."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Clerk)
        self.mails: list[str] = []


class _Clerk(socketserver.StreamRequestHandler):
    server: Post

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline().strip().upper():
            if line == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.mails.append(b"".join(lines).decode())
            self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 good\r\n")


@pytest.fixture
def services(shop: Shop) -> Endpoints:
    return shop.services


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    with Post() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def alert_addresses(webhook: RecordingServer, post: Post) -> str:
    mail = f"mailto://127.0.0.1:{post.server_address[1]}?from=shop@example.com&to=ops@example.com&mode=insecure"
    return f"{webhook.url.replace('http', 'json')}/alerts,{mail}"


@pytest.fixture(scope="module")
def receiver(shop: Shop, post: Post) -> Iterator[RecordingServer]:
    """Send alerts to a web hook and by mail from the first test that needs it on."""
    with RecordingServer() as webhook:
        shop.run("up", TAILORBIRD_ALERTS=alert_addresses(webhook, post))
        yield webhook
    shop.run("up")


def automations(shop: Shop) -> dict[str, JsonObject]:
    """Return our automations by slug; each must exist once."""
    rows = [row for row in shop.prefect("POST", "/automations/filter", {"limit": 200}) if row["tags"]]
    by_slug = {tag.removeprefix(OURS): row for row in rows for tag in row["tags"] if tag.startswith(OURS)}
    assert len(by_slug) == len(rows)
    return by_slug


def test_up_makes_each_automation_once_and_those_without_an_address_explain_what_to_do(
    shop: Shop,
) -> None:
    before = automations(shop)
    expected = {"retrain", "dead-runs", "score-segment", "drift", "run-failed", "run-late", "retrain-given-up"}
    assert expected <= set(before)
    assert all(row["name"].startswith("Tailorbird: ") and row["enabled"] for row in before.values())
    assert before["drift"]["actions"] == [{"type": "do-nothing"}]
    assert "TAILORBIRD_ALERTS" in before["drift"]["description"]
    with shop.begin("up") as command:
        assert "Everything is already running" in command.ended()[2]
    assert automations(shop) == before


def test_an_automation_that_a_person_switched_off_stays_off_and_an_undefined_one_goes(
    shop: Shop,
) -> None:
    before = automations(shop)
    stale = before["lists-stale"]
    path = f"/automations/{stale['id']}"
    names = ("name", "description", "trigger", "actions")
    older = {name: stale[name] for name in names} | {"tags": [stale["tags"][0], "definition:older"], "enabled": False}
    shop.prefect("PUT", path, older | {"name": "Tailorbird: an older name"})
    gone = {name: stale[name] for name in names} | {"tags": [f"{OURS}gone"], "name": "Tailorbird: gone"}
    shop.prefect("POST", "/automations/", gone)
    own = shop.prefect("POST", "/automations/", gone | {"tags": [], "name": "a person's own"})
    shop.run("up")
    after = automations(shop)
    assert set(after) == set(before)
    assert (after["lists-stale"]["id"], after["lists-stale"]["name"]) == (stale["id"], stale["name"])
    assert not after["lists-stale"]["enabled"]
    assert shop.prefect("GET", f"/automations/{own['id']}")["name"] == "a person's own"
    shop.prefect("DELETE", f"/automations/{own['id']}")
    shop.prefect("PATCH", path, {"enabled": True})


def test_a_test_alert_reaches_every_receiver_and_a_failed_one_is_named(
    shop: Shop, receiver: RecordingServer, post: Post
) -> None:
    both = alert_addresses(receiver, post)
    before = len(receiver.received), len(post.mails)
    results = json.loads(shop.run("alerts", "test", "--json", TAILORBIRD_ALERTS=both))
    assert [row["error"] for row in results] == ["", ""]
    assert (len(receiver.received), len(post.mails)) == (before[0] + 1, before[1] + 1)
    assert receiver.received[-1][1]["title"] == "Tailorbird: a test alert"
    output = shop.run("alerts", "test", code=1, TAILORBIRD_ALERTS=both.replace("/alerts", "/others"))
    assert "No alert reached slack-webhook/tailorbird-alerts-1." in " ".join(output.split())
    assert "TAILORBIRD_ALERTS" in shop.run("alerts", "test", code=1, TAILORBIRD_ALERTS="")


def test_every_alert_arrives_in_words_with_a_link(
    shop: Shop, receiver: RecordingServer, services: Endpoints, post: Post
) -> None:
    for number, name in enumerate(EVENTS):
        reason, page = f"what happened, {number}", f"http://page.example/{number}"
        payload = {"request": 999_999, "reason": reason, "page": page}
        events.emit(services, name, f"tailorbird.test.{number}", payload)
    messages: dict[str, str] = {}
    for number, words in enumerate(EVENTS.values()):
        until(lambda words=words: any(words in payload["title"] for _, payload in receiver.received))
        messages |= {payload["title"]: payload["message"] for _, payload in receiver.received}
        [message] = [message for title, message in messages.items() if words in title]
        assert f"what happened, {number}" in message
        assert f"http://page.example/{number}" in message
    until(lambda: len(post.mails) >= len(EVENTS))
    assert any("Subject: Tailorbird: recommendations are stale" in mail for mail in post.mails)
    assert all("mailto://" not in log.read_text() for log in (shop.var / "log").glob("*.log"))


def test_a_failed_run_is_reported_with_its_page(receiver: RecordingServer, services: Endpoints) -> None:
    assert deployments.start_run(services, "score", f"a test {time.time()}", {"placements": ["nowhere"]})
    alert = until(lambda: next((alert for _, alert in receiver.received if FAILED in alert["title"]), None), 60)
    last = flow_runs.latest_run(services, "score")
    assert last is not None
    assert f"{services.prefect_page}/v2/runs/flow-run/{last.id}" in alert["message"]
    assert flow_runs.state_of(last) == "FAILED"


def test_a_message_about_a_segment_starts_a_run_that_scores_it(shop: Shop, services: Endpoints) -> None:
    segment = f"a segment {time.time()}"
    events.emit(services, events.SEGMENT, "tailorbird.message.1", {"segment": segment})

    def started() -> Any:
        last = flow_runs.latest_run(services, "score")
        return last if last is not None and last.parameters == {"segment": segment} else None

    run = until(started, 60)
    shop.prefect("DELETE", f"/flow_runs/{run.id}")


def test_alerts_that_cannot_be_sent_are_refused_before_anything_is_changed(shop: Shop) -> None:
    before = automations(shop)
    output = shop.run("up", code=1, TAILORBIRD_ALERTS="block:slack-webhook/ops-of-nobody")
    assert "Prefect has no block slack-webhook/ops-of-nobody" in output
    assert "entry 1 cannot be read" in shop.run("up", code=1, TAILORBIRD_ALERTS="https://hunter2.example/")
    assert automations(shop) == before


def test_a_run_without_further_heartbeats_is_marked_as_crashed(shop: Shop, services: Endpoints) -> None:
    dead = automations(shop)["dead-runs"]
    names = ("name", "description", "actions", "enabled")
    soon = {name: dead[name] for name in names} | {"trigger": {**dead["trigger"], "within": 10}}
    shop.prefect("PUT", f"/automations/{dead['id']}", soon | {"tags": [dead["tags"][0], "definition:of a test"]})
    flow = shop.prefect("POST", "/flows/", {"name": "compact"})
    run = shop.prefect("POST", "/flow_runs/", {"flow_id": flow["id"], "state": {"type": "RUNNING"}})
    resource = {"prefect.resource.id": f"prefect.flow.{flow['id']}", "prefect.resource.role": "flow"}
    related = [resource | {"prefect.resource.name": "compact"}]
    time.sleep(1)  # until Prefect has loaded the changed automation
    events.emit(services, "prefect.flow-run.heartbeat", f"prefect.flow-run.{run['id']}", {}, related)
    until(lambda: shop.prefect("GET", f"/flow_runs/{run['id']}")["state"]["type"] == "CRASHED", 60)
    shop.run("up")
    assert automations(shop)["dead-runs"]["trigger"]["within"] == 300
