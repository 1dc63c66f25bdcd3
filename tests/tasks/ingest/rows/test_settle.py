"""The rows of a killed ingest do not count, and the next one removes them; a killed undo goes on by any of both."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra import locks
from infra.database.schema.ledger_schema import UNDO_CHANGES
from infra.installation import Installation
from serving.queries import ledger
from serving.queries.status import status
from tasks.ingest.rows.settle import settle_idle
from tasks.ingest.undo.undo_batches import preview
from tests.tasks import forked
from tests.tasks.ingest.events.test_segment_updates import ingest, viewed
from tests.tasks.ingest.undo.test_undo_batches import everything, undo

_DYING = """
import os, signal, sys
from importlib import import_module

module, name, when, batch_or_file = sys.argv[1:]
owner = import_module(module)
*path, last = name.split(".")
for step in path:
    owner = getattr(owner, step)
real = getattr(owner, last)

def dying(*values, **named):
    if last == "remove_batch" and len(values) == 1:  # the lake is asked to remove no batch
        return real(*values, **named)
    if when == "after":
        real(*values, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, last, dying)
if batch_or_file.endswith(".jsonl"):
    from tasks.ingest.events.ingest_events import ingest_segment
    ingest_segment.fn("segment", batch_or_file)
else:
    from tasks.ingest.undo.undo_batches import undo_batches
    undo_batches.fn([batch_or_file], None, "ann", "a test")
"""
_POINTS = [("tasks.ingest.events.ingest_events", "open_context"), ("tasks.ingest.events.ingest_events", "close")]
"""Before its first chunk, and after its last."""
_HELD = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
    "WHERE locktype = 'advisory' AND datname = current_database()"
)


def kill(installation: Installation, module: str, name: str, what: str, when: str = "before") -> None:
    """Kill an ingest of a file or an undo of a batch, and wait until PostgreSQL has noticed and released its locks."""
    ended = forked.run(_DYING, module, name, when, what)
    assert ended.code == -signal.SIGKILL, ended.err
    deadline = time.monotonic() + 30
    with installation.engine.connect() as connection:
        while connection.execute(text(_HELD)).scalar_one():
            assert time.monotonic() < deadline, "PostgreSQL still keeps the locks of the killed process."
            time.sleep(0.01)


def cut_short(installation: Installation, folder: Path, module: str, name: str) -> dict[str, Any]:
    """Ingest bob's file, and kill the ingest of ann's; returns everything that counts."""
    ingest(folder, viewed(1, True, "bob"), number=2)
    before = everything(installation)
    (folder / "1.jsonl").write_text((folder / "2.jsonl").read_text().replace("bob", "ann"))
    kill(installation, module, name, str(folder / "1.jsonl"))
    return before


def line_of(installation: Installation, batch: str) -> dict[str, Any]:
    return next(line for line in ledger.ledger(installation.engine) if line["batch_id"] == batch)


@pytest.mark.parametrize(("module", "name"), _POINTS)
def test_an_undone_batch_that_began_again_and_was_killed_counts_nowhere_and_is_undone_again(
    installation: Installation, tmp_path: Path, module: str, name: str
) -> None:
    ingest(tmp_path, viewed(1, True, "bob"), number=2)
    single, counted = everything(installation), status(installation.engine)["ledger"]
    wrong = ingest(tmp_path, viewed(1), viewed(2), viewed(3, False, "cleo", product_id="mug"), number=1)["batch_id"]
    undo(wrong)
    kill(installation, module, name, str(tmp_path / "1.jsonl"))

    assert line_of(installation, wrong)["status"] == "pending"
    assert line_of(installation, wrong)["read"] == 0
    assert status(installation.engine)["ledger"] == counted

    assert ingest(tmp_path, viewed(1, True, "bob"), number=2)["status"] == "unchanged"
    settle_idle()
    settled = line_of(installation, wrong)
    assert (settled["status"], settled["read"]) == ("undone", 0)
    assert settled["detail"] == "Undone by ann: a test. The same file can be ingested again."
    remaining = everything(installation)
    assert [remaining[name] for name in ("lake", "ledger", "items")] == [
        single[name] for name in ("lake", "ledger", "items")
    ]
    assert ingest(tmp_path, viewed(1), viewed(2), viewed(3, False, "cleo", product_id="mug"), number=1)["accepted"] == 2


@pytest.mark.parametrize(("module", "name"), _POINTS)
def test_a_new_batch_that_was_killed_states_it_until_its_file_comes_again(
    installation: Installation, tmp_path: Path, module: str, name: str
) -> None:
    before = cut_short(installation, tmp_path, module, name)
    settle_idle()
    [pending] = [line for line in ledger.ledger(installation.engine) if line["status"] == "pending"]
    assert "nothing of it counts. Ingest the same file again" in pending["detail"]
    assert everything(installation) == before
    again = ingest(tmp_path, viewed(1), number=1)
    assert again["batch_id"] == pending["batch_id"]
    assert (again["accepted"], line_of(installation, again["batch_id"])["detail"]) == (1, None)


def test_a_batch_that_another_run_works_on_is_left_alone(installation: Installation, tmp_path: Path) -> None:
    batch = ingest(tmp_path, viewed(1), number=1)["batch_id"]
    undo(batch)
    kill(installation, *_POINTS[0], str(tmp_path / "1.jsonl"))
    with locks.locked(installation.engine, batch):
        settle_idle()
        assert line_of(installation, batch)["status"] == "pending"
        with pytest.raises(locks.LockHeldError):
            undo(batch)
    settle_idle()
    assert line_of(installation, batch)["status"] == "undone"


@pytest.mark.parametrize(("module", "name"), _POINTS)
def test_a_batch_that_was_cut_short_is_undone_without_its_file(
    installation: Installation, tmp_path: Path, module: str, name: str
) -> None:
    before = cut_short(installation, tmp_path, module, name)
    [pending] = [line["batch_id"] for line in ledger.ledger(installation.engine) if line["status"] == "pending"]
    assert preview([pending])["batches"][0]["events_removed"] == 0
    [undone] = undo(pending)["batches"]
    assert not any(undone[name] for name in UNDO_CHANGES)
    assert line_of(installation, pending)["status"] == "undone"
    assert everything(installation) == before
    assert ingest(tmp_path, viewed(1), number=1)["accepted"] == 1


_OF_AN_UNDO = [
    ("tasks.ingest.undo.entities", "remove", "after"),
    ("tasks.ingest.rows.settle", "finish", "before"),
    ("tasks.ingest.rows.settle", "_append", "after"),
    ("infra.lake.delta_lake", "Lake.remove_batch", "after"),
    ("tasks.ingest.rows.settle", "_close", "after"),
]


def files(folder: Path) -> list[str]:
    """Ingest two overlapping files, and return the ids of their batches."""
    first = ingest(folder, viewed(1, name="Old"), viewed(2), viewed(1, True, "bob", product_id="pan"), number=1)
    second = ingest(folder, viewed(2), viewed(3, True, "cleo"), number=2)
    return [first["batch_id"], second["batch_id"]]


_BY_AN_INGEST = [pytest.param("an ingest", *point, marks=pytest.mark.faults) for point in _OF_AN_UNDO[1:-1]]
"""Nothing was changed before the first point: only the repeat undoes the batch."""


@pytest.mark.parametrize(
    ("by", "module", "name", "when"),
    [*(("the repeat", *point) for point in _OF_AN_UNDO), *_BY_AN_INGEST, ("an ingest", *_OF_AN_UNDO[-1])],
)
def test_a_killed_undo_is_finished(
    installation: Installation, tmp_path: Path, by: str, module: str, name: str, when: str
) -> None:
    first, second = files(tmp_path)
    kill(installation, module, name, first, when)
    if by == "the repeat":
        undo(first)
    else:
        ingest(tmp_path, viewed(9, True, "dora", product_id="mug"), number=3)
    remaining = everything(installation)
    assert sorted({row["batch_id"] for row in remaining["lake"]} & {first, second}) == [second]
    assert [row["event_id"] for row in remaining["lake"] if row["batch_id"] == second] == [
        "ann-track-2",
        "cleo-track-3",
    ]
    line = next(row for row in remaining["ledger"] if row["batch_id"] == second)
    assert (line["read"], line["accepted"], line["duplicate"]) == (2, 2, 0)
    assert [row["title"] for row in remaining["items"] if row["item_id"] != "mug"] == ["Cup"]
    with installation.engine.connect() as connection:
        status = connection.execute(text("SELECT status FROM ingest_batches WHERE batch_id = :it"), {"it": first})
        assert status.scalar_one() == "undone"
    again = ingest(tmp_path, viewed(1, name="Old"), viewed(2), viewed(1, True, "bob", product_id="pan"), number=1)
    assert again["accepted"] == 2
