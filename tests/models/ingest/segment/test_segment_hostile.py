"""Whatever stands in a line, the line is accounted for exactly once and nothing fails."""

import json
from math import isfinite
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns import EVENT_TYPES
from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.parse import PageRule, parse_lines
from models.ingest.source_config import MARKS, Traffic, marked
from tests.examples import FEW

KEYS = (
    *("type", "event", "messageId", "userId", "anonymousId", "previousId", "timestamp", "context", "traits", "consent"),
    *("properties", "products", "product_id", "sku", "price", "quantity", "order_id", "rating", "path", "age"),
)
NAMES = (
    *("Product Viewed", "Order Completed", "Order Refunded", "Product List Viewed", "Cart Viewed", "Product Reviewed"),
)
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    st.sampled_from(
        ["", " ", "\0", "🦜", "1e400", "[1]", "{}", "2024-06-01T10:00:00Z", "infinity", 10**40, -0.0, 1e308]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("products", "product_id", "sku", "price", "quantity", "rating", "order_id", "path"), VALUES
    ),
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["track"] * 6 + ["page", "identify", "alias", "group", "x"]) | VALUES},
    optional={
        "event": st.sampled_from(NAMES) | VALUES,
        "properties": PROPERTIES | VALUES,
        "traits": VALUES,
        "context": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("consent", "sessionId", "userAgent", "ip"), VALUES)
        )
        | VALUES,
        **dict.fromkeys(("messageId", "userId", "anonymousId", "previousId", "timestamp", "receivedAt"), VALUES),
    },
)


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


WHOLE = EVENTS.map(written) | VALUES.map(written)
DAMAGED = st.builds(lambda line, at: line[: at % (len(line) + 1)], WHOLE, st.integers(0, 500))
TWICE = st.builds(lambda line, more: line[:-1] + b", " + more[1:], EVENTS.map(written), EVENTS.map(written))
MARKED = WHOLE.map(lambda line: b"\xef\xbb\xbf" + line)
LINES = st.lists(st.one_of(WHOLE, WHOLE, DAMAGED, TWICE, MARKED, st.binary(max_size=30)), max_size=40)


def shaped(lines: list[bytes]) -> ParsedLines:
    table = pa.table({"row_number": pa.array(range(len(lines)), pa.int64()), "text": pa.array(lines, pa.binary())})
    return parse_lines(table, PageRule("(?P<item_id>[a-z]+)"), traits=["age", "price"])


def check(lines: list[bytes], result: ParsedLines) -> None:
    """The identity, and what the rows promise."""
    events, routed, unreadable = (
        rows["row_number"].to_pylist() for rows in (result.events, result.routed, result.unreadable)
    )
    assert sorted([*set(events), *routed, *unreadable]) == list(range(len(lines)))
    assert result.read == len(events) + len(routed) + len(unreadable)
    for row in result.events.to_pylist():
        assert row["event_id"]
        assert row["event_type"] in EVENT_TYPES
        assert all(row[name] is None or isfinite(row[name]) for name in ("quantity", "value", "rating"))
    sent = marked(result.events, Traffic(internal_addresses=["0.0.0.0/0"]))
    assert len(sent) == len(result.events)
    assert all(sent[mark].null_count == 0 for mark in MARKS)
    for rows in (result.items, result.users, result.aliases):
        assert set(rows["row_number"].to_pylist()) <= {*events, *routed}
        rows.to_pylist()
    assert all(row["reason"] and len(row["sha256"]) == 64 for row in result.unreadable.to_pylist())


def no_object(line: bytes) -> bool:
    try:
        return not isinstance(json.loads(line), dict)
    except ValueError:
        return False


@FEW
@given(LINES)
def test_every_line_is_accounted_for_exactly_once(lines: list[bytes]) -> None:
    result = shaped(lines)
    check(lines, result)
    lost = set(result.unreadable["row_number"].to_pylist())
    assert {number for number, line in enumerate(lines) if no_object(line)} <= lost


@FEW
@given(LINES, st.randoms(use_true_random=False))
def test_the_order_in_which_lines_arrive_changes_nothing(lines: list[bytes], chance: Any) -> None:
    order = list(range(len(lines)))
    chance.shuffle(order)
    table = pa.table(
        {"row_number": pa.array(order, pa.int64()), "text": pa.array([lines[i] for i in order], pa.binary())}
    )
    again = parse_lines(table, PageRule("(?P<item_id>[a-z]+)"), traits=["age", "price"])
    first = shaped(lines)
    for name in ("events", "items", "users", "aliases", "routed", "unreadable"):
        assert str(getattr(again, name).to_pylist()) == str(getattr(first, name).to_pylist()), name


@FEW
@given(st.lists(VALUES, min_size=1, max_size=30))
def test_an_order_has_one_row_for_each_entry(products: list[Any]) -> None:
    line = written(
        {"type": "track", "event": "Order Completed", "messageId": "m", "properties": {"products": products}}
    )
    events = shaped([line]).events
    assert len(events) == len(products)
    assert len(set(events["event_id"].to_pylist())) == len(products)


DEEP = 100_000
ORDER = b'{"type": "track", "event": "Order Completed", "properties": %s}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "blank"),
        (b"{", "not_json"),
        (b'{"type": "track\0"}', "not_json"),
        (b'{"type": "\\ud800"}', "not_json"),
        (b"[" * DEEP, "not_json"),
        (b"[" * DEEP + b"]" * DEEP, "not_an_object"),
        (b'"track"', "not_an_object"),
        (b"{}", "type_missing"),
        (b'{"type": {"a": 1}}', "type_unknown"),
        (b'{"type": "track"}', "event_missing"),
        (b'{"type": "track", "event": ["Order Completed"]}', "event_missing"),
        (ORDER % b"[]", "properties_not_an_object"),
        (ORDER % b'{"products": {}}', "products_not_a_list"),
        (ORDER % b'{"product_id": "a", "products": 5}', "products_not_a_list"),
        (b'{"type": "track", "event": "\xff"}', "not_utf8"),
        (b"\xef\xbb\xbf", "blank"),
    ],
)
def test_an_unreadable_line_is_kept_with_its_reason(line: bytes, reason: str) -> None:
    good = ORDER % b'{"products": [{"sku": "a"}]}'
    result = shaped([good, line, good])
    check([good, line, good], result)
    assert result.unreadable["reason"].to_pylist() == [reason]


@pytest.mark.parametrize(
    "deep", [b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP], ids=["lists", "objects"]
)
def test_depth_is_no_danger(deep: bytes) -> None:
    wide = b'{"type": "identify", "userId": "u", "traits": {"age": %s}, "context": %s, "properties": %s}'
    lines = [wide % (deep, deep, deep), ORDER % (b'{"products": [{"sku": %s, "name": %s}]}' % (deep, deep))]
    result = shaped(lines)
    check(lines, result)
    assert result.events["item_id"].to_pylist() == [None]


def test_a_line_of_a_megabyte_is_a_line() -> None:
    products = [{"sku": f"s{number}", "name": "🦜" * 20} for number in range(10_000)]
    line = written({"type": "track", "event": "Order Completed", "properties": {"products": products}})
    assert len(line) > 1_000_000
    result = shaped([line, b"x" * 1_000_000])
    assert (len(result.events), len(result.unreadable)) == (10_000, 1)


def test_of_a_key_that_is_there_twice_the_first_counts() -> None:
    line = ORDER % b'{"products": [{"sku": "a", "sku": "b"}], "products": 5}'
    assert shaped([line]).events["item_id"].to_pylist() == ["a"]
