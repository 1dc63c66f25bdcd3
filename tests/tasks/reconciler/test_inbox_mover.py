"""The reconciler moves the inbox in threads of its own, and an outage ends none of them."""

import time
from threading import Event

import pytest
from sqlalchemy import text

from infra.installation import Installation
from tasks.ingest.inbox import move_inbox as inbox
from tasks.ingest.inbox.messages import Dataset, Due
from tasks.reconciler import inbox_mover

MESSAGE = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload)
    VALUES ('api', 'm1', 'item', 1, '{"item_id": "cup", "price": 2.5}')"""


def test_updates_move_while_the_other_thread_fails(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_mover, "_PAUSES", {"updates": 0.05, "events": 0.05})
    moves, reports, stop = inbox.move_inbox, [], Event()

    def move(here: Installation, dataset: Dataset, due: Due) -> list[str]:
        if dataset == "events":
            raise OSError("the lake is away")
        return moves(here, dataset, due)

    monkeypatch.setattr(inbox, "move_inbox", move)
    with installation.engine.begin() as connection:
        connection.execute(text(MESSAGE))
    threads = inbox_mover.start_inbox_mover(reports.append, stop)
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
