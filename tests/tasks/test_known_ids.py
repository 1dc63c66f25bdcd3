from typing import Any

import pyarrow as pa
import pytest

from infra.lake import Lake
from tasks import known_ids
from tasks.known_ids import KnownIds


def rows(*ids: str) -> pa.Table:
    hashes = [f"hash of {event_id}" for event_id in ids]
    return pa.table({"event_id": pa.array(ids, pa.string()), "payload_hash": pa.array(hashes, pa.string())})


def store(lake: Lake, chunk: int, *ids: str) -> pa.Table:
    stored = rows(*ids)
    lake.append_events(stored.append_column("month", pa.array(["2017-01"] * len(ids))), "b", chunk)
    return stored


@pytest.fixture
def lake(tmp_path: Any) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_an_empty_lake_holds_nothing(lake: Lake) -> None:
    assert len(KnownIds(lake).among(rows("a", "b"))) == 0


def test_what_the_lake_held_before_is_found_with_its_hash(lake: Lake) -> None:
    store(lake, 0, "a", "b")
    assert KnownIds(lake).among(rows("b", "c")).to_pylist() == [{"event_id": "b", "payload_hash": "hash of b"}]


def test_what_was_added_since_is_found_however_often_something_was_added(lake: Lake) -> None:
    known = KnownIds(lake)
    for chunk in range(2 * known_ids._LAYERS + 1):
        known.add(store(lake, chunk, f"a{chunk}", f"b{chunk}"))
        found = known.among(rows("a0", f"b{chunk}", "c"))["event_id"].to_pylist()
        assert sorted(found) == sorted({"a0", f"b{chunk}"})


def test_nothing_asked_is_nothing_found(lake: Lake) -> None:
    store(lake, 0, "a")
    assert len(KnownIds(lake).among(rows())) == 0
