from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations import events as promises
from expectations import items as item_promises
from tasks import sift

NOW = datetime(2018, 1, 1, tzinfo=UTC)
SUPPRESSED, ROUTED, CATALOGUE = (
    pa.array(["gone"], pa.string()),
    pa.array(["fuel"], pa.string()),
    pa.array(["ice", "tea", "fuel"], pa.string()),
)
_KINDS = {
    "event_id": pa.string(),
    "user_key": pa.string(),
    "item_id": pa.string(),
    "event_type": pa.string(),
    "occurred_at": pa.timestamp("us", tz="UTC"),
    "quantity": pa.float64(),
    "value": pa.float64(),
}


class Event(NamedTuple):
    event_id: str | None = "e1"
    user_key: str | None = "ann"
    item_id: str | None = "ice"
    event_type: str | None = "purchase"
    occurred_at: datetime | None = datetime(2017, 5, 1, tzinfo=UTC)
    quantity: float | None = 1.0
    value: float | None = 2.5


def shaped(events: Sequence[Event], first: int = 0) -> pa.Table:
    rows = pa.table({n: pa.array([getattr(e, n) for e in events], kind) for n, kind in _KINDS.items()})
    numbered = sift.fingerprint(rows).append_column(sift.ROW, pa.array(range(first, first + len(rows)), pa.int64()))
    return sift.annotate(numbered, CATALOGUE, NOW.timestamp())


def nothing_known() -> pa.Table:
    return pa.table({"event_id": pa.array([], pa.string()), "payload_hash": pa.array([], pa.string())})


def sifted(events: Sequence[Event], first: int = 0, known: pa.Table | None = None) -> sift.Sifted:
    known = nothing_known() if known is None else known
    return sift.sift(shaped(events, first), promises.RULES, SUPPRESSED, ROUTED, known)


def adds_up(counts: dict[str, int]) -> bool:
    return counts["read"] == sum(number for name, number in counts.items() if name != "read")


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (Event(), "accepted"),
        (Event(user_key="gone", item_id="fuel", quantity=0.0), "suppressed"),
        (Event(item_id="fuel", quantity=5000.0), "routed"),
        (Event(quantity=0.0), "quarantined"),
        (Event(quantity=None, value=None), "accepted"),
        (Event(user_key=None), "quarantined"),
        (Event(occurred_at=datetime(2018, 1, 2, 0, 0, 1, tzinfo=UTC)), "quarantined"),
        (Event(occurred_at=datetime(9999, 1, 1, tzinfo=UTC)), "quarantined"),
    ],
)
def test_a_row_goes_to_the_first_place_that_claims_it(event: Event, place: str) -> None:
    counts = sifted([event]).counts
    assert {name for name, number in counts.items() if number} == {"read", place}


def test_a_row_in_quarantine_names_every_rule_it_broke_and_where_it_came_from() -> None:
    done = sifted([Event(), Event("e2", item_id=None, quantity=0.0, value=0.0)], first=10)
    assert done.quarantined[sift.ROW].to_pylist() == [11]
    assert sorted(done.quarantined[sift.RULES][0].as_py()) == [
        "item_id_missing",
        "item_not_in_catalogue",
        "quantity_not_positive",
        "value_not_positive",
    ]
    assert sift.rule_counts(done.quarantined)["value_not_positive"] == 1


def test_of_one_id_the_first_event_stays_its_repeats_are_duplicates_and_other_contents_conflict() -> None:
    done = sifted([Event(), Event(), Event(value=9.0), Event(), Event(value=9.0)])
    assert done.accepted[sift.ROW].to_pylist() == [0]
    assert done.counts["duplicate"] == 2
    assert done.quarantined[sift.ROW].to_pylist() == [2, 4]
    assert done.quarantined[sift.RULES].to_pylist() == [["id_conflict"]] * 2


def test_an_event_that_is_stored_already_comes_first() -> None:
    stored = shaped([Event()]).select(["event_id", "payload_hash"])
    done = sifted([Event(value=9.0), Event(), Event("e2")], known=stored)
    assert done.counts == {
        "read": 3,
        "suppressed": 0,
        "routed": 0,
        "quarantined": 1,
        "duplicate": 1,
        "accepted": 1,
    }


def test_a_broken_row_does_not_keep_a_sound_one_with_its_id_out() -> None:
    done = sifted([Event(quantity=0.0), Event()])
    assert done.accepted[sift.ROW].to_pylist() == [1]


def test_quarantined_rows_can_be_kept_as_json_whatever_they_hold() -> None:
    done = sifted([Event(item_id='"\\\u2028'), Event(quantity=float("inf")), Event(occurred_at=None)])
    assert [row["quantity"] for row in sift.payloads(done.quarantined)] == [1.0, "inf", 1.0]
    assert [row["occurred_at"] for row in sift.payloads(done.quarantined)][1:] == [
        "2017-05-01T00:00:00.000000+0000",
        None,
    ]


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


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(ROWS, min_size=1, max_size=12), min_size=1, max_size=3))
def test_over_any_chunks_every_row_is_counted_once_and_in_the_right_place(chunks: list[list[Event]]) -> None:
    stored: dict[str | None, Event] = {}
    known, first = nothing_known(), 0
    for chunk in chunks:
        copies = [Event(*event) for event in chunk]
        done = sifted(copies, first, known)
        expected = [place_of(event, stored) for event in copies]
        assert adds_up(done.counts)
        assert done.counts == {name: expected.count(name) for name in done.counts} | {"read": len(chunk)}
        accepted = [first + i for i, place in enumerate(expected) if place == "accepted"]
        assert done.accepted[sift.ROW].to_pylist() == accepted
        quarantined = [first + i for i, place in enumerate(expected) if place == "quarantined"]
        assert sorted(done.quarantined[sift.ROW].to_pylist()) == quarantined
        known = pa.concat_tables([known, done.accepted.select(known.column_names)])
        first += len(chunk)


def items(*rows: dict[str, Any]) -> pa.Table:
    sound = {"item_id": "i1", "title": "Ice", "category": "FOOD", "price": 1.0, "attributes": {"size": "1 l"}}
    return pa.Table.from_pylist([sound | row for row in rows])


def test_of_a_catalogue_the_last_row_of_an_item_is_routed_to_the_catalogue() -> None:
    rows = items(
        {"title": "Old"}, {"item_id": None}, {"title": "New"}, {"item_id": "i2"}, {"item_id": "i3", "price": -1.0}
    )
    done = sift.sift_reference(rows, item_promises.RULES, pa.array([], pa.string()), "item_id")
    assert done.accepted.select(["item_id", "title"]).to_pylist() == [
        {"item_id": "i1", "title": "New"},
        {"item_id": "i2", "title": "Ice"},
    ]
    assert done.counts == {"read": 5, "suppressed": 0, "routed": 2, "quarantined": 2, "duplicate": 1, "accepted": 0}
    assert adds_up(done.counts)


def test_a_suppressed_key_is_dropped_from_a_reference_file() -> None:
    done = sift.sift_reference(items({}, {"item_id": "i2"}), item_promises.RULES, pa.array(["i1"]), "item_id")
    assert done.counts["suppressed"] == 1
    assert done.accepted["item_id"].to_pylist() == ["i2"]
