"""Messages of a broker that ask for lists of a segment become events of Prefect, sent to one that records requests."""

from sqlalchemy import text

from infra.installation import Installation
from infra.prefect_api import events
from tasks.reconciler.reconcile import announce_segments
from tests.recording_server import RecordingServer

MESSAGE = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload)
    VALUES ('bus', :name, 'score', 1, '{"segment": "Regulars"}')"""


def test_a_message_becomes_one_event_as_soon_as_prefect_takes_it(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text(MESSAGE), {"name": "m1"})
    assert announce_segments(installation) is None  # no Prefect answers
    with RecordingServer() as recorder:
        here = recorder.installed(installation)
        assert announce_segments(here) == "Messages asked for lists of Regulars."
        assert announce_segments(here) is None
        (event,) = recorder.events()
    assert (event["event"], event["payload"]["segment"]) == (events.SEGMENT, "Regulars")
