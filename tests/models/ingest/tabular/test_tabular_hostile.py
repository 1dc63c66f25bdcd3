"""Whatever a table holds, each of its rows comes out as one row, and nothing fails."""

from datetime import datetime
from math import isnan
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import TailorbirdError
from models.ingest.source_config import MARKS, Spelling, Traffic, marked
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, UsersMapping

WORDS = [
    "", " ", "\0", "\x1f", "🦜", "NaN", "null", "-inf", "1e400", "$", "€", "a|b", "|", "'; --",
    "x" * 70_000, "[" * 9_000,
]  # fmt: skip
TEXT = st.one_of(st.text(max_size=12), st.sampled_from(WORDS))
NUMBER = st.one_of(st.floats(), st.sampled_from([float("nan"), float("inf"), -0.0, 1e308, 5e-324, 2.0**63]))
WHOLE = st.integers(-(2**63), 2**63 - 1)
MOMENT = st.one_of(
    TEXT,
    st.sampled_from(
        ["2024-02-30", "0000-00-00", "9999-12-31T23:59:59Z", "2024-06-01T10:00:00+99:99", "infinity", "epoch"]
    ),
)


def column(values: st.SearchStrategy[Any], kind: pa.DataType, rows: int) -> st.SearchStrategy[pa.Array]:
    return st.lists(st.none() | values, min_size=rows, max_size=rows).map(lambda values: pa.array(values, kind))


def ids(rows: int) -> st.SearchStrategy[pa.Array]:
    return st.one_of(
        column(TEXT, pa.string(), rows),
        column(TEXT, pa.large_string(), rows),
        column(WHOLE, pa.int64(), rows),
        column(NUMBER, pa.float64(), rows),
        column(st.booleans(), pa.bool_(), rows),
        column(TEXT, pa.string(), rows).map(lambda values: values.dictionary_encode()),
    )


def times(rows: int) -> st.SearchStrategy[pa.Array]:
    return st.one_of(
        column(MOMENT, pa.string(), rows),
        *(column(WHOLE, pa.timestamp(unit), rows) for unit in ("s", "ms", "us", "ns")),
        column(WHOLE, pa.timestamp("us", tz="Asia/Tokyo"), rows),
        column(st.datetimes(), pa.timestamp("us"), rows),
        column(st.dates(), pa.date32(), rows),
    )


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 6))
    numbers = st.one_of(column(NUMBER, pa.float64(), rows), column(WHOLE, pa.int64(), rows))
    words = dict.fromkeys(("basket", "what", "who", "did", "paid_in", "seen_at", "ok", "agent", "ip"), ids(rows))
    return pa.table(draw(st.fixed_dictionaries({**words, "at": times(rows), "pieces": numbers, "place": numbers})))


EVENTS = EventsMapping(
    file="f",
    event_id=["basket", "what"],
    user_id="who",
    item_id="what",
    session_id="basket",
    occurred_at="at",
    zone="America/New_York",
    event_type="did",
    event_types={"$": "purchase"},
    quantity="pieces",
    value="pieces",
    currency="paid_in",
    rating="pieces",
    placement="seen_at",
    position="place",
    consent="ok",
    user_agent="agent",
    ip="ip",
    fill={"quantity": 1, "currency": "EUR"},
)
ITEMS = ItemsMapping(
    file="f",
    item_id="what",
    title=["basket", "who"],
    sentence_case=True,
    category=["seen_at", "paid_in"],
    category_alternatives="|",
    brand="did",
    price="pieces",
    attributes=["agent"],
    not_merchandise=["€"],
    fill={"category": "Other", "price": 1, "agent": "?"},
)
USERS = UsersMapping(file="f", user_id="who", attributes=["agent"], consent="ok", consent_at="at", zone="Europe/Berlin")
SPELLING = Spelling(category={"a": "A"}, brand={"null": "None"}, currency={"🦜": "EUR"})
TRAFFIC = Traffic(robot_agents=["x"], internal_users=["null"], internal_addresses=["0.0.0.0/0"])


@given(tables())
def test_every_row_of_a_table_is_an_event(rows: pa.Table) -> None:
    result = transform.events(rows, EVENTS, SPELLING)
    events = result.rows
    assert len(events) == len(rows)
    events.validate(full=True)
    assert events.schema == transform.events(rows.slice(0, 0), EVENTS).rows.schema
    for event in events.to_pylist():
        assert "\0" not in "".join(value for value in event.values() if isinstance(value, str))
        assert not any(isinstance(value, float) and isnan(value) for value in event.values())
        assert event["quantity"] is not None
        assert event["occurred_at"] is None or isinstance(event["occurred_at"], datetime)
    assert all(0 < count <= len(rows) for count in result.counts.values())
    sent = marked(events, TRAFFIC)
    assert len(sent) == len(rows)
    assert all(sent[mark].null_count == 0 for mark in MARKS)
    identified = transform.identified(events.rename_columns({"user_id": "user_key"}))
    assert identified["event_id"].null_count == 0


@given(tables())
def test_every_row_of_a_table_is_an_item_or_a_user(rows: pa.Table) -> None:
    for result in (transform.items(rows, ITEMS, SPELLING), transform.users(rows, USERS)):
        assert len(result.rows) == len(rows)
        result.rows.validate(full=True)
        result.rows.to_pylist()
        assert all(0 < count <= len(rows) for count in result.counts.values())


@given(tables(), st.integers(1, 5))
def test_a_table_in_pieces_gives_the_same_rows(rows: pa.Table, cut: int) -> None:
    pieces = pa.concat_tables([transform.events(part, EVENTS).rows for part in (rows.slice(0, cut), rows.slice(cut))])
    assert without_suggestions(pieces) == without_suggestions(transform.events(rows, EVENTS).rows)


def without_suggestions(events: pa.Table) -> str:
    """Return the rows as text. A suggestion counts the cells of its piece that it would read."""
    rows = events.to_pylist()
    for row in rows:
        for cell in row["unreadable"] or ():
            del cell["suggestion"]
    return str(rows)


def nested(depth: int) -> pa.Array:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return pa.array([value])


@pytest.mark.parametrize("key", ["user_id", "occurred_at", "value"])
def test_lists_of_any_depth_are_refused_by_name_where_a_contract_did_not(key: str) -> None:
    rows = pa.table({name: ["1"] for name in ("who", "what", "at", "paid")})
    name = {"user_id": "who", "occurred_at": "at", "value": "paid"}[key]
    mapping = EventsMapping(
        file="f", user_id="who", item_id="what", occurred_at="at", value="paid", constants={"event_type": "view"}
    )
    with pytest.raises(TailorbirdError, match=name):
        transform.events(rows.set_column(rows.column_names.index(name), name, nested(40)), mapping)
