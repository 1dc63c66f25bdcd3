"""What waits in the inbox and on disk is counted, and `status` shows it."""

from pathlib import Path

import pytest
from sqlalchemy import text

from infra.database.engine import engine
from serving.events.spool import FOLDER, Spool, SpoolFullError
from serving.queries.status import inbox_state
from serving.terminal.status import print_status
from tests.serving.events.inbox_database import click

ROWS = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload, received_at, moved_at, outcome)
    VALUES ('api', 'm0', 'answers', 1, '{"recommendation_id": ["r1", "r2"]}', now(), NULL, NULL),
        ('api', 'm1', 'event', 1, '{}', now() - interval '1 minute', NULL, NULL),
        ('api', 'm2', 'event', 1, '{}', now(), NULL, NULL),
        ('api', 'm3', 'event', 1, '{}', now() - interval '1 hour', now(), 'moved'),
        ('api', 'm4', 'event', 1, '{}', now() - interval '1 hour', now(), 'refused')"""


def test_waiting_and_refused_rows_are_counted(database: str) -> None:
    with engine(database).begin() as connection:
        connection.execute(text(ROWS))
        state = inbox_state(connection)
    assert (state["waiting"], state["refused"]) == (4, 1)
    assert state["oldest_seconds"] is not None
    assert 60 <= state["oldest_seconds"] < 120


def test_requests_for_lists_are_no_events_that_wait(database: str) -> None:
    asked = "VALUES ('bus', 'spring-1', 'score', 1, '{\"segment\": \"Regulars\"}', now() - interval '1 hour')"
    with engine(database).begin() as connection:
        connection.execute(
            text(f"INSERT INTO event_inbox (source, message_id, kind, key_version, payload, received_at) {asked}")
        )
        assert inbox_state(connection) == {"waiting": 0, "oldest_seconds": None, "refused": 0}


def test_messages_on_disk_and_dropped_ones_are_counted(tmp_path: Path) -> None:
    assert Spool(tmp_path / FOLDER, 0).state() == {"messages": 0, "dropped": 0, "refused": 0}
    spool = Spool(tmp_path / FOLDER, 500)
    spool.append([click(1)])
    with pytest.raises(SpoolFullError):
        spool.append([click(2), click(3)])
    assert Spool(tmp_path / FOLDER, 0).state() == {"messages": 1, "dropped": 2, "refused": 0}


def test_status_shows_what_waits(capsys: pytest.CaptureFixture[str]) -> None:
    parts = dict.fromkeys(("ledger", "champion", "challenger"))
    waiting = {"waiting": 3, "oldest_seconds": 12.4, "refused": 1}
    spool = {"messages": 5, "dropped": 2, "refused": 0}
    print_status({"services": {"postgres": True}, "placements": [], "inbox": waiting, "spool": spool, **parts})
    shown = capsys.readouterr()
    text_shown = shown.out + shown.err
    for words in (
        "3 rows wait in the inbox, the oldest for 12 s",
        "1 messages of refused",
        "5 messages wait on disk",
        "2 dropped",
    ):
        assert words in text_shown
