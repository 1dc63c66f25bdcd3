"""A run that ends at any moment, again and again, ends like one that never was stopped."""

from typing import Any

import pytest

from infra.lake.delta_lake import Lake
from tasks.ingest import ledger
from tasks.ingest.sql import ingest_stream
from tests.tasks.ingest.sql.source import Source
from tests.tasks.stopped_steps import KilledError, ends_at

STEPS: tuple[tuple[Any, str], ...] = (
    (ingest_stream, "pull_rows"),
    (ingest_stream, "close_outdated"),
    (ledger, "record_chunks"),
    (Lake, "append_events"),
    (ledger, "close_batches"),
)


def ingested(source: Source, moment: int) -> bool:
    """Ingest, up to that moment; False if the run ended before its end."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            ends_at(patch, moment, STEPS)
            source.ingest(most=20)
    except KilledError:
        return False
    return True


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.faults), 3])
def test_nothing_is_lost_or_doubled(orders: Source, step: int) -> None:
    """Runs end at each moment of their steps, in the suite at each third one."""
    orders.add(1, 30)
    moment, stops, last = 1, 0, 30
    while not ingested(orders, moment):
        moment += step
        stops += 1
        if stops % 3 == 0:  # rows come meanwhile, so that an interrupted batch is read again as another one
            last += 1
            orders.add(last, last)
    assert moment >= 8
    orders.ingest(most=20)
    assert orders.lake() == list(range(1, last + 1))
    entries = orders.ledger()
    assert {entry["status"] for entry in entries} <= {"committed", "undone"}
    committed = [entry for entry in entries if entry["status"] == "committed"]
    assert sum(entry["accepted"] for entry in committed) == last
    assert all(entry["read"] == entry["accepted"] + entry["duplicate"] for entry in committed)
