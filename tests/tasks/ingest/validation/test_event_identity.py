from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from infra.keys.identity import pseudonym
from infra.lake.delta_lake import Lake
from models.ingest.canonical_schema import EVENTS
from models.primitives.arrow_sql import query
from tasks.ingest.validation import event_identity
from tasks.ingest.validation.event_identity import ID_HASHED, HashSet, KnownIds, hashes, prepare_events, pseudonymise
from tasks.sources.mapping_files import table_mapping

KEY = b"key"


def rows(*ids: str, month: str = "2017-01") -> pa.Table:
    stated = {
        "event_id": list(ids),
        "event_type": ["view"] * len(ids),
        "payload_hash": [f"hash of {i}" for i in ids],
        "month": [month] * len(ids),
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in stated.items()})


def store(lake: Lake, chunk: int, *ids: str) -> pa.Table:
    stored = rows(*ids)
    lake.append_events(stored, "b", chunk)
    return stored


def requested(known: KnownIds, ids: pa.Table) -> list[bool]:
    answers: list[bool] = known.may_contain(hashes("ids", "event_id", ids=ids)).tolist()
    return answers


@pytest.fixture
def lake(tmp_path: Any) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_events_that_the_lake_held_before_are_found_in_whatever_month(lake: Lake) -> None:
    store(lake, 0, "a", "b")
    known = KnownIds(lake)
    assert requested(known, rows("b", "c")) == [True, False]
    matches = known.matching(rows("b", "c", month="2019-05"))
    assert matches.to_pylist() == [{"event_id": "b", "payload_hash": "hash of b"}]


def test_ids_that_were_added_since_are_found_however_often_some_were_added(lake: Lake) -> None:
    known = KnownIds(lake)
    for chunk in range(17):
        added = store(lake, chunk, f"a{chunk}", f"b{chunk}")
        known.add(hashes("added", "event_id", added=added))
        assert requested(known, rows("a0", f"b{chunk}", "c")) == [True, True, False]
        matches = known.matching(rows("a0", f"b{chunk}", "c"))["event_id"].to_pylist()
        assert sorted(matches) == sorted({"a0", f"b{chunk}"})


def test_ids_are_found_after_their_files_were_merged_and_removed(lake: Lake) -> None:
    for chunk in range(4):
        store(lake, chunk, f"a{chunk}")
        assert requested(KnownIds(lake), rows("a0", f"a{chunk}", "c")) == [True, True, False]
    table = lake.events()
    assert table is not None
    table.optimize.compact()
    assert requested(KnownIds(lake), rows("a0", "a3", "c")) == [True, True, False]
    store(lake, 4, "b")
    assert requested(KnownIds(lake), rows("a0", "b", "c")) == [True, True, False]


def test_a_run_reads_each_file_of_the_lake_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(event_identity, "hashes", lambda source, name: read.append(source) or hashes(source, name))
    for chunk in range(3):
        store(lake, chunk, f"a{chunk}")
        KnownIds(lake)
    assert [source.count(".parquet") for source in read] == [1, 1, 1]


def test_the_impressions_of_an_answer_take_the_memory_of_one(lake: Lake) -> None:
    ids = [f"api:r{answer}#{position}" for answer in range(5) for position in range(1, 21)]
    lake.append_events(rows(*ids).set_column(1, "event_type", pa.array(["impression"] * len(ids))), "b", 0)
    known = KnownIds(lake)
    assert sum(len(layer) for layer in known._stored_before._layers) == 5
    asked = rows("api:r1#7", "api:r9#7", "api:r1")
    asked = asked.set_column(1, "event_type", pa.array(["impression", "impression", "view"]))
    hashed = query(f"SELECT {ID_HASHED} AS hash FROM asked", asked=asked)["hash"].to_numpy()
    assert known.may_contain(hashed).tolist() == [True, False, True]
    assert known.matching(asked)["event_id"].to_pylist() == ["api:r1#7"]


def test_layers_are_merged_as_they_grow_and_nothing_is_lost() -> None:
    random, seen = np.random.default_rng(7), HashSet()
    added = [random.integers(2**63, size=size).astype(np.uint64) for size in (1, 50, 3, 0, 700, 2, 40, 40, 40, 5)]
    for hashes_ in added:
        seen.add(hashes_)
    everything = np.concatenate(added)
    assert seen.contains(everything).all()
    assert not seen.contains(everything + np.uint64(1)).any()
    sizes = [len(layer) for layer in seen._layers]
    assert sum(sizes) == len(everything)
    assert all(2 * later <= earlier for earlier, later in pairwise(sizes))


def raw(**values: Any) -> pa.Table:
    row = {"event_id": "e1", "user_id": "ann", "item_id": "ice", "event_type": "view", "value": 2.5}
    row |= {"occurred_at": datetime(2017, 5, 1, tzinfo=UTC)} | values
    return pa.Table.from_pylist([row], EVENTS).drop_columns(["row_number", "is_device"])


def ready(identified: bool = True, **values: Any) -> dict[str, Any]:
    events, _ = prepare_events(
        raw(**values), table_mapping("complete_journey", None), KEY, np.array([7]), identified=identified
    )
    row: dict[str, Any] = events.to_pylist()[0]
    return row


def test_pseudonyms_replace_raw_ids_and_missing_users_stay_missing() -> None:
    rows = pa.table({"user_id": ["900", None, "900", "901"], "n": [1, 2, 3, 4]})
    result, names = pseudonymise(rows, KEY)
    assert result["user_code"].to_pylist() == [0, -1, 0, 1]
    keys = {name: pseudonym(name, KEY) for name in ("900", "901")}
    assert result["user_key"].to_pylist() == [keys["900"], None, keys["900"], keys["901"]]
    assert {row["user_id"]: row["user_key"] for row in names.to_pylist()} == keys


def test_the_raw_id_the_agent_and_the_address_are_gone() -> None:
    row = ready(user_agent="Mozilla/5.0", ip="10.0.0.1")
    assert not {"user_id", "user_agent", "ip"} & set(row)
    assert (row["user_key"], row["row_number"], row["month"]) == (pseudonym("ann", KEY), 7, "2017-05")


def test_the_hash_is_of_what_happened_and_not_of_how_it_came() -> None:
    first = ready()["payload_hash"]
    assert ready(received_at=datetime(2018, 1, 1, tzinfo=UTC), consent=True, ip="::1")["payload_hash"] == first
    for values in ({"value": 2.6}, {"item_id": "tea"}, {"user_id": "bob"}, {"session_id": "s"}, {"position": 1}):
        assert ready(**values)["payload_hash"] != first


def test_the_hash_of_a_mixpanel_event_is_of_its_id_alone() -> None:
    first = ready(event_id="mixpanel:1")["payload_hash"]
    assert ready(event_id="mixpanel:1", value=9.0, user_id="bob", item_id="tea")["payload_hash"] == first
    assert ready(event_id="mixpanel:2")["payload_hash"] != first


def test_an_event_without_an_id_gets_the_same_one_each_time() -> None:
    assert ready(event_id=None)["event_id"] is None
    made = ready(identified=False, event_id=None)["event_id"]
    assert made == ready(identified=False, event_id=None, value=9.0)["event_id"]
    assert made != ready(identified=False, event_id=None, item_id="tea")["event_id"]
