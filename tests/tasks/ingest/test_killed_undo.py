"""An undo that is killed at any point goes on by its repeat, and by the next ingest."""

import signal
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.installation import Installation
from tests.tasks import forked
from tests.tasks.ingest.events.test_segment_updates import ingest, viewed
from tests.tasks.ingest.undo.test_undo_batches import everything, undo

_DYING = """
import os, signal, sys
from importlib import import_module

module, name, when, batch = sys.argv[1:]
owner = import_module(module)
*path, last = name.split(".")
for step in path:
    owner = getattr(owner, step)
real = getattr(owner, last)

def dying(*values, **named):
    if len(values) == 1:  # the lake is asked to remove no batch
        return real(*values, **named)
    if when == "after":
        real(*values, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, last, dying)
from tasks.ingest.undo.undo_batches import undo_batches
undo_batches.fn([batch], None, "ann", "a test")
"""
_POINTS = [
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


def kill(batch: str, module: str, name: str, when: str) -> None:
    ended = forked.run(_DYING, module, name, when, batch)
    assert ended.code == -signal.SIGKILL, ended.err


_BY_AN_INGEST = [pytest.param("an ingest", *point, marks=pytest.mark.faults) for point in _POINTS[1:-1]]
"""Nothing was changed before the first point: only the repeat undoes the batch."""


@pytest.mark.parametrize(
    ("by", "module", "name", "when"),
    [*(("the repeat", *point) for point in _POINTS), *_BY_AN_INGEST, ("an ingest", *_POINTS[-1])],
)
def test_a_killed_undo_is_finished(
    installation: Installation, tmp_path: Path, by: str, module: str, name: str, when: str
) -> None:
    first, second = files(tmp_path)
    kill(first, module, name, when)
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
    assert (
        ingest(tmp_path, viewed(1, name="Old"), viewed(2), viewed(1, True, "bob", product_id="pan"), number=1)[
            "accepted"
        ]
        == 2
    )
