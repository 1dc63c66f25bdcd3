from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.lake import Lake


def events(batch_id: str, *ids: str) -> pa.Table:
    n = len(ids)
    columns = {"event_id": ids, "batch_id": [batch_id] * n, "month": ["2017-01"] * n}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def ids(lake: Lake, version: int | None = None) -> list[str]:
    tables = [pq.read_table(file, columns=["event_id"], partitioning=None) for file in lake.event_files(version)]
    return sorted(pa.concat_tables(tables)["event_id"].to_pylist()) if tables else []


@pytest.fixture(params=["lake", "it's a lake (50%)"])
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    return Lake(str(tmp_path / request.param))


def test_before_the_first_ingest_there_is_nothing(lake: Lake) -> None:
    assert lake.events() is None
    assert lake.event_files() == []
    assert lake.committed_chunk("b") == -1
    lake.remove_batch("b")


def test_a_repeat_of_a_chunk_does_not_double_its_rows(lake: Lake) -> None:
    lake.append_events(events("b", "e1"), "b", 0)
    lake.append_events(events("b", "e2"), "b", 1)
    lake.append_events(events("b", "e2"), "b", 1)
    lake.append_events(events("b", "e1"), "b", 0)
    assert ids(lake) == ["e1", "e2"]
    assert lake.committed_chunk("b") == 1


def test_a_version_goes_on_saying_what_it_said(lake: Lake) -> None:
    lake.append_events(events("b", "e1"), "b", 0)
    table = lake.events()
    assert table is not None
    lake.append_events(events("c", "e2"), "c", 0)
    assert ids(lake, table.version()) == ["e1"]


@pytest.mark.parametrize("kept", [(), ("e1",)])
def test_a_removed_batch_leaves_no_row_and_can_come_again(lake: Lake, kept: tuple[str, ...]) -> None:
    lake.append_events(events("other", "e0"), "other", 0)
    mine = "o'brien's"
    lake.append_events(events(mine, *kept), mine, 0)
    lake.remove_batch(mine)
    assert ids(lake) == ["e0"]
    assert (lake.committed_chunk(mine), lake.committed_chunk("other")) == (-1, 0)
    lake.append_events(events(mine, "e1"), mine, 0)
    assert ids(lake) == ["e0", "e1"]


def test_a_snapshot_is_replaced_whole(lake: Lake) -> None:
    lake.write_dataset("v1", "items", pa.table({"a": [1, 2]}))
    lake.write_dataset("v1", "items", pa.table({"a": [3]}))
    assert lake.read_dataset("v1", "items").to_pydict() == {"a": [3]}
