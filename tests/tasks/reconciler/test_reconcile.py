"""The reconciler looks at MLflow between its rounds, and what it finds becomes one alert, sent to a Prefect that
records requests."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import text

from infra.installation import Installation, current
from infra.keys.recorded_api_keys import NewKey, create_key
from infra.prefect_api import events
from tasks.ingest.inbox import move_inbox as inbox
from tasks.ingest.inbox.messages import Dataset, Due
from tasks.orchestration.alert_throttle import AlertThrottle
from tasks.reconciler import reconcile
from tasks.reconciler.alerts import alert_spent_quotas, alert_stale_lists, alert_streams
from tasks.reconciler.reconcile import _print, announce_segments, watch
from tests.published import published, shelf
from tests.recording_server import RecordingServer

SEGMENT_MESSAGE = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload)
    VALUES ('bus', :name, 'score', 1, '{"segment": "Regulars"}')"""
LETTER = """
    INSERT INTO identity.dead_letters (source, reason, detail, body, digest)
    VALUES ('bus', 'malformed', 'No JSON.', 'x', CAST(:digest AS bytea))"""
ITEM_MESSAGE = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload)
    VALUES ('api', 'm1', 'item', 1, '{"item_id": "cup", "price": 2.5}')"""


class Mlflow(RecordingServer):
    """An MLflow server whose model has the aliases and whose version 5 has the tags that a test sets; no Prefect."""

    def __init__(self) -> None:
        super().__init__()
        self.aliases: list[dict[str, str]] = []
        self.tags: list[dict[str, str]] = []

    def answer(self, path: str, _payload: Any) -> tuple[int, Any]:
        if "/registered-models/get" in path:
            return 200, {"registered_model": {"name": "tailorbird", "aliases": self.aliases}}
        if "/model-versions/search" in path:
            return 200, {"model_versions": [{"name": "tailorbird", "version": "5", "tags": self.tags}]}
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}

    def reads(self) -> str:
        """Return the reads of tags (t) and aliases (a) in their order."""
        kinds = {"/model-versions/search": "t", "/registered-models/get": "a"}
        return "".join(kind for path, _ in self.received for part, kind in kinds.items() if part in path)

    def rounds(self) -> int:
        """Return the number of rounds: after the tags each reads the aliases twice, and a look between them once."""
        return self.reads().count("taa")


@pytest.fixture
def mlflow(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mlflow]:
    assert installation.key
    with Mlflow() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("PREFECT_API_URL", f"{server.url}/api")
        current.cache_clear()
        yield server
        current.cache_clear()


def happens(condition: Any) -> bool:
    """Return whether it happens within half a minute."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def test_a_tag_or_an_alias_that_a_person_sets_starts_a_round_at_the_next_look_and_looks_alone_start_none(
    mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reconcile._LOOK_SECONDS < 10
    monkeypatch.setattr(reconcile, "_LOOK_SECONDS", 0.05)
    stop, set_tag = Event(), partial(mlflow.tags.append, {"key": "review", "value": "approved"})
    set_alias = partial(mlflow.aliases.append, {"alias": "approved", "version": "5"})
    watching = Thread(target=watch, args=(3600, stop), daemon=True)
    watching.start()
    try:
        changes: list[Callable[[], None]] = [lambda: None, set_tag, set_alias, mlflow.aliases.clear]
        for number, change in enumerate(changes, 1):
            change()
            assert happens(lambda least=number: mlflow.rounds() > least)  # the first round, and one for each change
            reads = len(mlflow.reads())
            assert happens(lambda before=reads: len(mlflow.reads()) > before + 10)
            assert mlflow.rounds() == number + 1
    finally:
        stop.set()
        watching.join(30)


def test_a_line_of_the_log_begins_with_its_time_and_has_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _print("Version 3 by \x1b[2Jann")
    time, line = capsys.readouterr().out.split(" | ")
    assert line == "Version 3 by \\x1b[2Jann\n"
    written = datetime.strptime(time, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert timedelta() <= datetime.now(UTC) - written < timedelta(minutes=1)


@pytest.fixture
def installation(installation: Installation, recorder: RecordingServer) -> Installation:
    return recorder.installed(installation)


def away(installation: Installation) -> Installation:
    """The installation while its Prefect does not answer."""
    return replace(installation, endpoints=replace(installation.endpoints, prefect_api_url="http://127.0.0.1:9/api"))


def age(installation: Installation, hours: int) -> None:
    do(installation, f"UPDATE placements SET checked_at = now() - interval '{hours} hours'")


def test_lists_older_than_their_hours_are_reported_once(installation: Installation, recorder: RecordingServer) -> None:
    throttle = AlertThrottle()
    assert alert_stale_lists(installation, throttle) is None
    published(installation.engine, {"ann": [("i1", 1.0, "a")]}, shelf("v1", "home"))
    assert alert_stale_lists(installation, throttle) is None
    age(installation, 51)
    assert alert_stale_lists(installation, throttle) == "The lists of home are stale."
    assert alert_stale_lists(installation, throttle) is None
    [event] = recorder.events()
    assert (event["event"], event["resource"]) == (
        events.STALE_LISTS,
        {"prefect.resource.id": "tailorbird.placement.home"},
    )
    assert event["payload"]["reason"].startswith("The lists of home are 51 hours old; 48 are allowed.")
    age(installation, 1)
    assert alert_stale_lists(installation, throttle) is None
    age(installation, 60)  # it was well again: that is news
    assert alert_stale_lists(installation, throttle) is not None


def test_an_alert_that_prefect_did_not_receive_is_repeated_at_the_next_look(
    installation: Installation, recorder: RecordingServer
) -> None:
    throttle = AlertThrottle()
    published(installation.engine, {"ann": [("i1", 1.0, "a")]}, shelf("v1", "home"))
    age(installation, 51)
    alert_stale_lists(away(installation), throttle)
    alert_stale_lists(installation, throttle)
    assert len(recorder.events()) == 1


def test_a_placement_that_is_not_configured_any_more_promises_nothing(
    installation: Installation, recorder: RecordingServer
) -> None:
    published(installation.engine, {"ann": [("i1", 1.0, "a")]}, shelf("v1", "summer"))
    age(installation, 5000)
    assert alert_stale_lists(installation, AlertThrottle()) is None
    assert recorder.events() == []


def test_a_message_becomes_one_event_as_soon_as_prefect_takes_it(
    installation: Installation, recorder: RecordingServer
) -> None:
    do(installation, SEGMENT_MESSAGE, name="m1")
    assert announce_segments(away(installation)) is None
    assert announce_segments(installation) == "Messages asked for lists of Regulars."
    assert announce_segments(installation) is None
    (event,) = recorder.events()
    assert (event["event"], event["payload"]["segment"]) == (events.SEGMENT, "Regulars")


def do(installation: Installation, statement: str, **values: Any) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text(statement), values)


def test_a_queue_is_reported_once_while_it_is_behind_or_silent(
    installation: Installation, recorder: RecordingServer
) -> None:
    throttle = AlertThrottle()
    do(installation, "INSERT INTO streams (queue, source, lag) VALUES ('events', 'bus', 10000)")
    assert alert_streams(installation, throttle) is None
    do(installation, "UPDATE streams SET lag = 10001")
    assert alert_streams(installation, throttle) == (
        "10,001 messages wait in the queue events; 10,000 are allowed. Start another consumer."
    )
    assert alert_streams(installation, throttle) is None
    do(installation, "UPDATE streams SET lag = 0")
    assert alert_streams(installation, throttle) is None
    do(installation, "UPDATE streams SET seen_at = now() - interval '5 minutes'")
    assert alert_streams(installation, throttle) == (
        "Nobody has consumed the queue events for 5 minutes. Start `tailorbird consume`."
    )
    do(installation, "UPDATE streams SET seen_at = now() - interval '8 days'")
    assert alert_streams(installation, AlertThrottle()) is None
    sent = [(event["event"], event["resource"]["prefect.resource.id"]) for event in recorder.events()]
    assert sent == [(events.STREAM, "tailorbird.stream.events")] * 2


def test_new_dead_letters_are_reported_until_they_are_replayed(installation: Installation) -> None:
    throttle = AlertThrottle()
    do(installation, LETTER, digest="a")
    first = "1 messages of bus could not be stored: see `tailorbird dead-letters list`."
    assert alert_streams(installation, throttle) == first
    assert alert_streams(installation, throttle) is None
    do(installation, LETTER, digest="b")
    assert (alert_streams(installation, throttle) or "").startswith("2 messages of bus")
    do(installation, "UPDATE identity.dead_letters SET replayed_at = now()")
    assert alert_streams(installation, AlertThrottle()) is None


def test_a_spent_quota_of_a_page_key_is_reported_once_a_day(
    installation: Installation, recorder: RecordingServer
) -> None:
    throttle, key = AlertThrottle(), create_key(installation.engine, NewKey("web", ["collect"]), "ann")
    today = "(now() AT TIME ZONE 'UTC')::date"
    do(installation, f"INSERT INTO key_usage VALUES (:key, {today}, 999999, 0)", key=key["key_id"])
    assert alert_spent_quotas(installation, throttle) is None
    do(installation, "UPDATE key_usage SET calls = 1000000")
    reason = alert_spent_quotas(installation, throttle) or ""
    assert reason.startswith("Pages with the key web have sent 1,000,000 calls and 0 MB today; 1,000,000 and 2,000")
    assert f"tailorbird keys rotate api {key['key_id']}" in reason
    assert alert_spent_quotas(installation, throttle) is None
    do(installation, f"UPDATE key_usage SET day = {today} - 1")
    assert alert_spent_quotas(installation, AlertThrottle()) is None
    (event,) = recorder.events()
    assert (event["event"], event["payload"]["reason"]) == (events.QUOTA, reason)


def test_updates_move_while_the_other_thread_fails(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_PAUSES", {"updates": 0.05, "events": 0.05})
    moves, reports, stop = inbox.move_inbox, [], Event()

    def move(here: Installation, dataset: Dataset, due: Due) -> list[str]:
        if dataset == "events":
            raise OSError("the lake is away")
        return moves(here, dataset, due)

    monkeypatch.setattr(inbox, "move_inbox", move)
    do(installation, ITEM_MESSAGE)
    threads = reconcile.start_inbox_mover(reports.append, stop)
    end = time.monotonic() + 10
    price = None
    while price is None and time.monotonic() < end:
        time.sleep(0.05)
        with installation.engine.connect() as connection:
            price = connection.execute(text("SELECT price FROM items WHERE item_id = 'cup'")).scalar()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert price == 2.5
    assert len(reports) == 1
    assert "the lake is away" in reports[0]
