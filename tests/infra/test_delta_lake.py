import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from infra.lake.compaction import ADVISED_FROM, CompactionReport, MonthFiles, advice, purge, rewrite
from infra.lake.delta_lake import EVENT_FILES, Lake

MB = 2**20


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


def test_the_files_of_a_lake_in_an_object_store_are_read_as_copies_on_this_machine(object_store: str) -> None:
    lake = Lake(f"{object_store}/one lake")
    lake.append_events(events("b", "e1"), "b", 0)
    lake.append_events(events("b", "e2"), "b", 1)
    assert ids(lake) == ["e1", "e2"]
    assert ids(lake, version=0) == ["e1"]
    assert lake.event_files(months=["2018-01"]) == []
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet({lake.event_files()})").fetchall() == [(2,)]


def test_all_files_of_a_lake_can_be_read_with_logs_and_earlier_versions(object_store: str, tmp_path: Path) -> None:
    contents = []
    for lake in (Lake(f"{object_store}/all"), Lake(str(tmp_path / "all"))):
        assert list(lake.all_files()) == []
        for chunk in (0, 1):
            lake.append_events(events("b", f"e{chunk}"), "b", chunk)
        lake.compact(datetime.now(UTC), 7, [0, 1])
        read = {name: path.read_bytes() for name, path in lake.all_files()}
        kinds = [name.rpartition("/")[2].rpartition(".")[2] for name in read]
        assert kinds.count("parquet") == 4  # two chunks, both together, and a checkpoint
        assert sum(b"e1" in content for content in read.values()) >= 2
        contents.append(sorted(kinds))
    assert contents[0] == contents[1]


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


@pytest.mark.parametrize("remaining", [(), ("e1",)])
def test_a_removed_batch_leaves_no_row_and_can_come_again(lake: Lake, remaining: tuple[str, ...]) -> None:
    lake.append_events(events("other", "e0"), "other", 0)
    batch = "o'brien's"
    lake.append_events(events(batch, *remaining), batch, 0)
    lake.remove_batch(batch)
    assert ids(lake) == ["e0"]
    assert (lake.committed_chunk(batch), lake.committed_chunk("other")) == (-1, 0)
    lake.append_events(events(batch, "e1"), batch, 0)
    assert ids(lake) == ["e0", "e1"]


def test_a_snapshot_is_replaced_whole(lake: Lake) -> None:
    lake.write_dataset("v1", "items", pa.table({"a": [1, 2]}))
    lake.write_dataset("v1", "items", pa.table({"a": [3]}))
    assert lake.read_dataset("v1", "items").to_pydict() == {"a": [3]}


def lake_of_chunks(root: Path, chunks: int = 6) -> Lake:
    """Each chunk brings a file for each of three months."""
    lake = Lake(str(root / "it's a lake (50%)"))
    for chunk in range(chunks):
        lake.append_events(three_months("b", chunk), "b", chunk)
    return lake


def three_months(batch_id: str, chunk: int) -> pa.Table:
    names = [f"{batch_id}-{chunk}-{number}" for number in range(30)]
    months = [f"2017-0{number % 3 + 1}" for number in range(30)]
    at = pa.array([number * 1_000_000 + chunk for number in range(30)], pa.timestamp("us", tz="UTC"))
    return pa.table({"event_id": names, "batch_id": [batch_id] * 30, "month": months, "occurred_at": at})


def rows(lake: Lake, version: int | None = None) -> list[dict[str, Any]]:
    """Every row, read as an engine reads them: from the files."""
    tables = [pq.read_table(file, partitioning=None) for file in lake.event_files(version)]
    stored: list[dict[str, Any]] = pa.concat_tables(tables).sort_by("event_id").to_pylist()
    return stored


def on_disk(lake: Lake) -> set[Path]:
    return set(Path(lake.root, "events").glob("month=*/*.parquet"))


def made_old(lake: Lake, days: int) -> None:
    """As if all that was written so far had been written some days ago."""
    then = time.time() - days * 86_400
    for commit in Path(lake.root, "events", "_delta_log").glob("*.json"):
        commit.write_text(re.sub(r'"timestamp":\d+', f'"timestamp":{then * 1000:.0f}', commit.read_text()))
    for file in Path(lake.root, "events").rglob("*"):
        os.utime(file, (then, then))


def set_clock_of_commit(lake: Lake, version: int, days: int) -> None:
    """As if one commit had been made by a machine whose clock was wrong by some days."""
    then = (time.time() + days * 86_400) * 1000
    commit = Path(lake.root, "events", "_delta_log", f"{version:020}.json")
    commit.write_text(re.sub(r'"(timestamp|deletionTimestamp)":\d+', rf'"\1":{then:.0f}', commit.read_text()))


def compacted(lake: Lake, now: datetime, keep_days: int, versions: list[int]) -> CompactionReport:
    report = lake.compact(now, keep_days, versions)
    assert report is not None
    return report


def test_compaction_merges_files_and_changes_no_row(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    before = rows(lake)
    done = compacted(lake, datetime.now(UTC), 7, [])
    assert (done.files_before, done.files, done.rows) == (18, 3, 180)
    assert rows(lake) == before
    assert len(lake.event_files()) == 3
    again = compacted(lake, datetime.now(UTC), 7, [])
    assert (again.files_before, again.files, again.version) == (3, 3, done.version)


def test_after_compaction_and_a_checkpoint_a_repeat_of_a_chunk_is_still_known(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    lake.append_events(three_months("c", 0), "c", 0)
    lake.remove_batch("c")
    lake.compact(datetime.now(UTC), 0, [])
    assert list(Path(lake.root, "events", "_delta_log").glob("*.checkpoint.parquet"))
    assert (lake.committed_chunk("b"), lake.committed_chunk("c"), lake.committed_chunk("d")) == (5, -1, -1)
    before = rows(lake)
    lake.append_events(three_months("b", 5), "b", 5)
    assert rows(lake) == before


def test_files_of_versions_that_a_data_set_names_stay_and_the_others_go(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    version_rows = rows(lake, 2)
    done = compacted(lake, datetime.now(UTC), 0, [2, 999])
    assert done.files_deleted == 9
    assert rows(lake, 2) == version_rows
    assert on_disk(lake) == {Path(file) for file in [*lake.event_files(), *lake.event_files(2)]}
    assert compacted(lake, datetime.now(UTC), 0, []).files_deleted == 9
    assert on_disk(lake) == {Path(file) for file in lake.event_files()}


def test_versions_younger_than_the_days_to_keep_stay_readable_also_when_their_files_are_old(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    made_old(lake, 60)
    before = rows(lake)
    table = lake.events()
    assert table is not None
    table.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 hours"})
    for _ in range(2):  # the second time the log does not state any more that the old files were part of the table
        assert compacted(lake, datetime.now(UTC), 7, []).files_deleted == 0
    assert rows(lake, 5) == before


def test_commits_of_writers_whose_clock_was_wrong_are_as_old_as_their_place_among_the_others(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    made_old(lake, 5)
    set_clock_of_commit(lake, 4, days=-40)
    before = rows(lake, 3)
    assert compacted(lake, datetime.now(UTC), 7, []).files_deleted == 0
    set_clock_of_commit(lake, 0, days=40)
    assert compacted(lake, datetime.now(UTC), 7, []).files_deleted == 0
    assert rows(lake, 3) == before


@pytest.mark.parametrize("days", [-30, 30])
def test_the_database_decides_which_versions_are_young_whatever_the_clock_of_this_machine(
    tmp_path: Path, days: int
) -> None:
    lake = lake_of_chunks(tmp_path)
    made_old(lake, 60 + days)  # as the database has it: two months ago
    before = rows(lake, 5)
    deleted = compacted(lake, datetime.now(UTC) + timedelta(days=days), 90, []).files_deleted
    assert (deleted, rows(lake, 5)) == (0, before)


def test_a_purge_deletes_files_of_before_also_where_a_clock_was_set_back(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    table = lake.events()
    assert table is not None
    rewrite(table, lambda rows: rows.filter(pc.starts_with(rows["event_id"], "b-1")), EVENT_FILES, "mark", 1)
    orphan = next(iter(on_disk(lake))).with_name("part-orphan.parquet")
    orphan.write_bytes(b"half a file")
    kept = rows(lake)
    assert len(kept) == 30
    set_clock_of_commit(lake, 6, days=1)
    for file in on_disk(lake):
        os.utime(file, (time.time() + 86_400,) * 2)
    again = Lake(lake.root)
    newest = again.events()
    assert newest is not None
    purge(newest)
    assert rows(again) == kept
    assert on_disk(again) == {Path(file) for file in again.event_files()}
    assert again.committed_chunk("mark") == 1


def test_a_file_that_a_killed_writer_left_goes_once_it_is_old_enough_to_be_nobodys(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path, 1)
    orphan = next(iter(on_disk(lake))).with_name("part-orphan.parquet")
    orphan.write_bytes(b"half a file")
    lake.compact(datetime.now(UTC), 7, [])
    assert orphan.exists()
    made_old(lake, 8)
    assert compacted(lake, datetime.now(UTC), 7, []).files_deleted == 1
    assert not orphan.exists()


def test_a_version_can_be_read_however_old_its_log_is(tmp_path: Path) -> None:
    lake = lake_of_chunks(tmp_path)
    first = rows(lake, 0)
    lake.compact(datetime.now(UTC), 0, [0])
    made_old(lake, 400)
    lake.append_events(three_months("c", 0), "c", 0)
    lake.compact(datetime.now(UTC), 0, [0])
    table = lake.events()
    assert table is not None
    table.cleanup_metadata()  # as Delta does it by itself at every hundredth commit
    assert rows(lake, 0) == first


def months(files: int, size: int) -> list[MonthFiles]:
    return [MonthFiles(files, 1, size, "2026-01"), MonthFiles(1, 1, MB, "2026-02")]


def test_compaction_is_advised_once_there_are_many_small_files() -> None:
    assert advice(months(ADVISED_FROM, 20 * MB)) is None
    assert advice(months(ADVISED_FROM + 1, 300 * MB)) is None, "merging would save fewer"
    assert advice([]) is None
    sentence = advice(months(ADVISED_FROM + 1, 20 * MB))
    assert sentence is not None
    assert "tailorbird lake compact" in sentence
