import json
from collections.abc import Sequence
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.batches import EVENT_RULES
from infra.keys.identity import pseudonym
from infra.lake.delta_lake import Lake
from models import columns
from models.ingest.canonical_schema import EVENTS
from models.ingest.source_config import MARKS
from models.ingest.tabular.unreadable_cells import KEYS
from models.primitives.arrow_sql import query
from tasks.ingest.validation import event_identity, row_triage
from tasks.ingest.validation.event_identity import (
    ID_HASH,
    ID_HASHED,
    PAYLOAD_COLUMNS,
    KnownIds,
    add_fingerprints,
    hashes,
    prepare_events,
    pseudonymise,
)
from tasks.sources.mapping_files import table_mapping

NOW = datetime(2018, 1, 1, tzinfo=UTC)
CATALOGUE = pa.array(["ice", "tea", "fuel"], pa.string())
APART = {"user_key": {"gone"}, "item_id": {"fuel"}}
KINDS = pa.schema([(f.name, f.type) for f in EVENTS] + [("user_key", pa.string())] + [(n, pa.bool_()) for n in MARKS])
KEY = b"key"


class Event(NamedTuple):
    event_id: str | None = "e1"
    user_key: str | None = "ann"
    item_id: str | None = "ice"
    event_type: str | None = "purchase"
    occurred_at: datetime | None = datetime(2017, 5, 1, tzinfo=UTC)
    quantity: float | None = 1.0
    value: float | None = 2.5


def shaped(events: Sequence[Event], first: int = 0) -> pa.Table:
    values = [*PAYLOAD_COLUMNS, *MARKS]
    rows = pa.Table.from_pylist([dict.fromkeys(MARKS, False) | e._asdict() for e in events], KINDS)
    numbered = rows.select(values).append_column(columns.ROW, pa.array(range(first, first + len(rows)), pa.int64()))
    numbered = numbered.append_column(KEYS, pa.nulls(len(rows), pa.string()))
    return row_triage.annotate(add_fingerprints(numbered), CATALOGUE, NOW.timestamp())


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> KnownIds:
    """What is known of a lake without events."""
    return KnownIds(Lake(str(tmp_path_factory.mktemp("lake"))))


def triaged(events: Sequence[Event], known: KnownIds, first: int = 0) -> row_triage.TriagedRows:
    rows = shaped(events, first)
    gone, elsewhere = (np.array([v in names for v in rows[n].to_pylist()]) for n, names in APART.items())
    return row_triage.triage_events(rows, EVENT_RULES, gone, elsewhere, known)


def stored(known: KnownIds, chunk: int, accepted: pa.Table) -> None:
    helpers = [name for name in accepted.column_names if name in row_triage.HELPERS]
    known.lake.append_events(accepted.drop_columns(helpers), "b", chunk)
    known.add(accepted[ID_HASH].to_numpy())


def adds_up(counts: dict[str, int]) -> bool:
    return counts["read"] == sum(number for name, number in counts.items() if name != "read")


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (Event(user_key="gone", item_id="fuel", quantity=0.0), "suppressed"),
        (Event(quantity=None, value=None), "accepted"),
        (Event(occurred_at=datetime(2018, 1, 2, 0, 0, 1, tzinfo=UTC)), "quarantined"),
        (Event(occurred_at=datetime(9999, 1, 1, tzinfo=UTC)), "quarantined"),
    ],
)
def test_a_row_goes_to_the_first_place_that_claims_it(event: Event, place: str, empty: KnownIds) -> None:
    counts = triaged([event], empty).counts
    assert {name for name, number in counts.items() if number} == {"read", place}


def test_a_row_in_quarantine_names_every_rule_it_broke_and_where_it_came_from(empty: KnownIds) -> None:
    done = triaged([Event(), Event("e2", item_id=None, quantity=0.0, value=0.0)], empty, first=10)
    assert done.quarantined[columns.ROW].to_pylist() == [11]
    assert sorted(done.quarantined[row_triage.RULES][0].as_py()) == [
        "item_id_missing",
        "item_not_in_catalogue",
        "quantity_not_positive",
        "value_not_positive",
    ]
    assert row_triage.rule_counts(done.quarantined)["value_not_positive"] == 1


def test_of_one_id_the_first_event_stays_its_repeats_are_duplicates_and_other_contents_conflict(
    empty: KnownIds,
) -> None:
    done = triaged([Event(), Event(), Event(value=9.0), Event(), Event(value=9.0)], empty)
    assert done.accepted[columns.ROW].to_pylist() == [0]
    assert done.counts["duplicate"] == 2
    assert done.quarantined[columns.ROW].to_pylist() == [2, 4]
    assert done.quarantined[row_triage.RULES].to_pylist() == [["id_conflict"]] * 2


def test_quarantined_rows_can_be_kept_as_json_whatever_they_hold(empty: KnownIds) -> None:
    done = triaged([Event(item_id='"\\\u2028'), Event(quantity=float("inf")), Event(occurred_at=None)], empty)
    rows = [json.loads(text) for text in row_triage.payloads(done.quarantined)["payload"].to_pylist()]
    assert [row["item_id"] for row in rows] == ['"\\\u2028', "ice", "ice"]
    assert [row["quantity"] for row in rows] == [1.0, "inf", 1.0]
    assert [row["occurred_at"] for row in rows][1:] == ["2017-05-01T00:00:00.000000+0000", None]
    assert not set(MARKS) & set(rows[0])


ROWS = st.builds(
    Event,
    event_type=st.just("purchase"),
    occurred_at=st.just(datetime(2017, 5, 1, tzinfo=UTC)),
    event_id=st.sampled_from(["e1", "e2", "e3", None]),
    user_key=st.sampled_from(["ann", "bob", "gone", None]),
    item_id=st.sampled_from(["ice", "tea", "fuel", "unheard of", None]),
    quantity=st.sampled_from([1.0, 0.0, 2000.0, None]),
    value=st.sampled_from([2.5, 2.5, 0.0]),
)


def place_of(event: Event, stored: dict[str | None, Event]) -> str:
    """The rules in other words, a row at a time."""
    if event.user_key == "gone":
        return "suppressed"
    if event.item_id == "fuel":
        return "routed"
    if None in (event.event_id, event.user_key) or event.item_id not in {"ice", "tea"}:
        return "quarantined"
    if event.value == 0 or not (event.quantity is None or 0 < event.quantity <= 1000):
        return "quarantined"
    known = stored.setdefault(event.event_id, event)
    if known is event:
        return "accepted"
    return "duplicate" if known == event else "quarantined"


@given(st.lists(st.lists(ROWS, min_size=1, max_size=12), min_size=1, max_size=3))
def test_over_any_chunks_every_row_is_counted_once_and_in_the_right_place(chunks: list[list[Event]]) -> None:
    seen: dict[str | None, Event] = {}
    with TemporaryDirectory() as folder:
        known, first = KnownIds(Lake(folder)), 0
        for number, chunk in enumerate(chunks):
            copies = [Event(*event) for event in chunk]
            done = triaged(copies, known, first)
            expected = [place_of(event, seen) for event in copies]
            assert adds_up(done.counts)
            assert done.counts == {name: expected.count(name) for name in done.counts} | {"read": len(chunk)}
            for place, rows in (("accepted", done.accepted), ("quarantined", done.quarantined)):
                numbers = [first + i for i, result in enumerate(expected) if result == place]
                assert sorted(rows[columns.ROW].to_pylist()) == numbers
            stored(known, number, done.accepted)
            first += len(chunk)


@pytest.mark.parametrize(("size", "stored"), [(1, 1), (3, 4), (10, 10), (99, 10)])
def test_a_sample_is_spread_over_all_rows(size: int, stored: int) -> None:
    sample = row_triage.systematic_sample(pa.table({"n": range(10)}), size)["n"].to_pylist()
    assert (len(sample), sample[0]) == (stored, 0)
    mask = np.arange(10) % 2 == 1
    assert row_triage.systematic_sample(pa.table({"n": range(10)}), 3, mask)["n"].to_pylist() == [1, 3, 5, 7, 9]


def test_a_span_of_time_may_be_empty() -> None:
    rows = pa.table({"occurred_at": pa.array([None, 0, 1_000_000], pa.timestamp("us", tz="UTC"))})
    span = {"min": "1970-01-01T00:00:00+00:00", "max": "1970-01-01T00:00:01+00:00"}
    assert row_triage.time_span(rows) == span
    assert row_triage.time_span(rows.slice(0, 1)) == {"min": None, "max": None}


def test_unwanted_traffic_is_counted_by_rule_but_is_no_fault_of_the_data() -> None:
    rules = [["robot"], ["robot", "value_not_positive"], ["value_not_positive"], ["internal_traffic"]]
    result = row_triage.of_quarantined(pa.table({row_triage.RULES: pa.array(rules)}))
    assert result == {"rules": {"robot": 2, "value_not_positive": 2, "internal_traffic": 1}, "faulty": 2}


def test_unreadable_lines_of_a_batch_are_counted_by_what_is_wrong_with_them() -> None:
    lines = pa.table({row_triage.RULES: pa.array([["unreadable"]] * 3), "reason": ["not_json", "not_utf8", "not_json"]})
    rows = pa.table({row_triage.RULES: pa.array([["robot"]])})
    profiles = [row_triage.of_quarantined(rows, lines), row_triage.of_quarantined(lines.slice(0, 1))]
    assert row_triage.rows_by_rule(profiles) == {"robot": 1, "unreadable: not_json": 3, "unreadable: not_utf8": 1}


def test_figures_are_shares_of_what_they_are_about_and_a_batch_without_rows_has_none() -> None:
    first = {"read": 60, "suppressed": 10, "routed": 10, "duplicate": 6, "late": 3, "faulty": 4, "events": 50}
    first |= {"rules": {"value_not_positive": 4}, "nulls": {"value": 5}, "min": "2024-06-01T00:00:00+00:00"}
    first |= {"max": "2024-06-05T00:00:00+00:00"}
    second = {"read": 40, "events": 40, "faulty": 1, "rules": {"robot": 8}, "min": None, "max": None}
    second |= {"min": "2024-06-03T00:00:00+00:00", "max": "2024-06-10T12:00:00+00:00"}
    result = row_triage.figures([first, second], datetime(2024, 6, 11, tzinfo=UTC))
    expected = {
        "rows": 100,
        "quarantined_share": 0.05,
        "duplicate_share": 0.06,
        "suppressed_share": 0.1,
        "late_share": 0.03,
        "value_not_positive": 4 / 80,
        "robot": 8 / 80,
        "null_value": 5 / 90,
        "days": 9.5,
        "hours_old": 12.0,
    }
    assert result == pytest.approx(expected)
    nothing = row_triage.figures([], datetime(2024, 6, 11, tzinfo=UTC))
    names = ("rows", "quarantined_share", "days", "hours_old")
    assert [nothing[name] for name in names] == [0, 0.0, None, None]


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
