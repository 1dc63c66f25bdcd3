"""Bodies of Segment's libraries: what is read, and what is refused."""

import gzip
import json
from typing import Any

import pytest

from models.primitives.json_types import JsonObject
from serving.collector.bodies import (
    MOST_BYTES,
    MOST_CALLS,
    BodyTooLargeError,
    UnusableBodyError,
    calls_of,
    parsed,
    unpacked,
)


def test_a_gzip_body_is_unpacked_within_the_limit_of_a_batch() -> None:
    body = b'{"batch": []}'
    assert unpacked(gzip.compress(body), b"gzip") == unpacked(body, b"") == body
    assert len(unpacked(gzip.compress(b" " * MOST_BYTES), b"gzip")) == MOST_BYTES
    for large, encoding in ((gzip.compress(b" " * 100_000_000), b"gzip"), (b" " * (MOST_BYTES + 1), b"")):
        with pytest.raises(BodyTooLargeError, match="512000 bytes"):
            unpacked(large, encoding)
    with pytest.raises(UnusableBodyError, match="no gzip"):
        unpacked(body, b"gzip")
    with pytest.raises(UnusableBodyError, match="incomplete"):
        unpacked(gzip.compress(b"a" * 1000)[:-9], b"gzip")


def test_values_that_json_or_postgres_forbid_do_not_cost_the_other_calls() -> None:
    body = b'{"batch": [{"price": NaN, "name": "half \\ud83d", "n": 1' + b"0" * 400 + b'}, {"name": "a\\u0000b"}]}'
    first, second = parsed(body)["batch"]
    assert (first["price"], first["name"]) == (None, "half \N{REPLACEMENT CHARACTER}")
    assert second == {"name": "a\N{REPLACEMENT CHARACTER}b"}
    assert first["n"] is None
    assert parsed(b'{"userId": 18446744073709551615, "price": NaN}') == {"userId": 2**64 - 1, "price": None}
    assert json.dumps(parsed(b'{"a": 123456789012345678901234567890}')) == '{"a": 1.2345678901234568e+29}'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"a": ' * 50_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(UnusableBodyError, match=r"no valid JSON|no JSON object"):
        parsed(body)


def test_a_path_states_the_type_of_its_call() -> None:
    calls = calls_of({"event": "Product Viewed", "sentAt": "now", "type": "identify"}, "track")
    assert (calls.calls[0]["type"], calls.sent_at) == ("track", "now")


@pytest.mark.parametrize(("context", "read"), [({"ip": "::1"}, {"ip": "::1"}), (None, {}), ("x", {}), ([1], {})])
def test_a_batch_states_a_context_for_all_its_calls(context: Any, read: JsonObject) -> None:
    assert calls_of({"batch": [], "context": context}, None).context == read
    assert calls_of({"event": "a", "context": context}, "track").context == {}


@pytest.mark.parametrize("batch", [None, {}, "x", 5])
def test_a_batch_without_a_list_is_refused(batch: Any) -> None:
    with pytest.raises(UnusableBodyError, match="no list `batch`"):
        calls_of({"batch": batch}, None)


def test_a_batch_has_a_limit() -> None:
    assert len(calls_of({"batch": [{}] * MOST_CALLS}, None).calls) == MOST_CALLS
    with pytest.raises(BodyTooLargeError, match="2500 calls"):
        calls_of({"batch": [{}] * (MOST_CALLS + 1)}, None)
