"""Compaction beside everything that reads the lake: duplicates, data sets, ingest."""

import threading
import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from infra import locks
from infra.installation import Installation
from infra.lake.compaction import dataset_versions
from tasks.datasets.build_dataset import build_dataset, rebuild_dataset, split_by
from tasks.ingest.validation.event_identity import KnownIds
from tasks.lake.compact_lake import compact_lake


@pytest.fixture
def split(stage: Any) -> Any:
    """Some of the shop's events again in further chunks under other ids: each a file a month."""
    events = stored(stage.here)
    batch_id = events["batch_id"][0].as_py()
    for chunk in range(1, 5):
        some = events.take(pa.array(range(chunk, len(events), 20)))
        ids = pc.binary_join_element_wise(some["event_id"].cast(pa.string()), f"again-{chunk}", "#")
        again = some.set_column(events.column_names.index("event_id"), "event_id", ids)
        stage.here.lake.append_events(again, batch_id, chunk)
    return stage


def stored(installation: Installation) -> pa.Table:
    table = installation.lake.events()
    assert table is not None
    return pa.table(table.to_pyarrow_table()).sort_by("event_id")


@pytest.mark.usefixtures("installation")
def test_before_the_first_ingest_the_weekly_run_has_nothing_to_do() -> None:
    assert compact_lake.fn() == {}


def test_a_data_set_can_be_built_again_from_the_version_that_it_names(split: Any) -> None:
    assert dataset_versions(split.here.engine) == [split.manifest["events_version"]]
    assert compact_lake.fn(0)["files_deleted"] > 0
    assert rebuild_dataset.fn(split.manifest["version"])["same"]


def test_a_data_set_of_a_compacted_lake_has_the_same_content(split: Any) -> None:
    days, events = split_by(validation_days=30, test_days=31), stored(split.here)
    before = build_dataset.fn(days)
    done = compact_lake.fn(0)
    assert done["files_before"] > done["files"]
    after = build_dataset.fn(days)
    assert after["content_hash"] == before["content_hash"]
    assert dataset_versions(split.here.engine)[1:] == [before["events_version"], after["events_version"]]
    assert stored(split.here).equals(events)
    assert len(KnownIds(split.here.lake).matching(events)) == len(events)


def test_it_waits_until_no_run_writes(split: Any) -> None:
    done: list[dict[str, Any]] = []
    other = threading.Thread(target=lambda: done.append(compact_lake.fn()))
    with locks.locked(split.here.engine, "the lake's events"):
        other.start()
        time.sleep(0.5)
        assert not done
        assert split.here.lake.committed_chunk(stored(split.here)["batch_id"][0].as_py()) == 4
    other.join(timeout=20)
    assert done[0]["rows"] == len(stored(split.here))
