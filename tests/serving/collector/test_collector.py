"""Bodies become calls, and calls messages: pseudonyms, marks, faults, and what counts at once."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.keys.credentials import Pseudonyms
from models.ingest.segment.segment_mapping import SegmentMapping
from models.primitives.json_types import JsonObject
from serving.collector.bodies import (
    MOST_BYTES,
    MOST_CALL_BYTES,
    MOST_CALLS,
    BodyTooLargeError,
    CallMessage,
    SentCalls,
    UnusableBodyError,
    calls_of,
    parsed,
    unpacked,
)
from serving.collector.collector import Collector
from tests.serving.api.fakes import PSEUDONYM_KEY

RECEIVED = datetime(2026, 11, 29, 12, tzinfo=UTC)
YES = {"consent": {"categoryPreferences": {"Personalization": True}}}
NO = {"consent": {"categoryPreferences": {"Personalization": False}}}
KEYS = Pseudonyms(PSEUDONYM_KEY)


def collector(**mapping: Any) -> Collector:
    return Collector.of(SegmentMapping.model_validate({"name": "web", "kind": "segment", **mapping}), KEYS)


def click(**stated: Any) -> JsonObject:
    properties = {"product_id": "cup"}
    return {"type": "track", "event": "Product Clicked", "userId": "ann", "properties": properties, **stated}


def message(call: Any, sent_at: Any = None, made: Collector | None = None, **context: Any) -> CallMessage:
    (found,) = (made or collector()).messages(SentCalls([call], sent_at, context), "web", RECEIVED)
    return found


def test_a_call_has_pseudonyms_its_source_and_no_raw_id_but_the_users() -> None:
    found = message(click(messageId="m", anonymousId="device", context=YES))
    assert (found.message_id, found.kind, found.source, found.consent) == ("m", "call", "web", True)
    assert (found.user_key, found.session_key, found.user_id) == (KEYS.of("ann"), KEYS.of_device("device"), "ann")
    assert "ann" not in found.body
    assert "device" not in found.body
    assert found.effects.acted_on == ("cup",)


def test_a_repeated_call_has_the_same_digest_and_id_whenever_it_is_sent() -> None:
    call = click(messageId="m")
    first, again = message(call, "2026-11-29T11:59:00Z"), message(call, "2026-11-29T13:00:00Z")
    assert first.digest == again.digest
    assert first.digest != message(click(messageId="m", event="Product Added")).digest
    first, again = message(click(), "2026-11-29T11:59:00Z"), message(click(), "2026-11-29T13:00:00Z")
    assert first.message_id.startswith("sha256:")
    assert first.message_id == again.message_id != message(click(userId="bob")).message_id


def test_the_context_of_a_batch_counts_for_calls_that_state_none_of_their_own() -> None:
    assert message(click(), **YES).consent is True
    assert message(click(context={"library": {"name": "analytics-go"}}), **YES).consent is True
    assert message(click(context=NO), **YES).consent is False
    assert message(click(context=None), **NO).effects.answer is False
    assert message(5, **YES).payload["fault"] == "not_an_object"


def test_the_time_of_an_act_is_read_under_the_name_that_rudderstack_gives_it() -> None:
    at = "2026-11-29T10:00:00Z"
    assert message(click(originalTimestamp=at)).effects.stated_at == RECEIVED - timedelta(hours=2)
    assert message(click(originalTimestamp=at, timestamp="2026-11-29T11:00:00Z")).payload["timestamp"][11:13] == "11"


def test_a_long_context_of_a_batch_is_not_stored_with_each_of_its_calls() -> None:
    long = "x" * 100_000
    context = {"sessionId": long, "ip": long, "consent": {"categoryPreferences": {"Personalization": long}}}
    found = message(click(userId=None, anonymousId="d"), long, userAgent=long, userHash=long, **context)
    assert len(found.body) < 500
    assert found.consent is False
    assert message(click(), "2026-11-29T11:59:00Z", sessionId="s").payload["context"] == {"sessionId": "s"}


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (5, "not_an_object"),
        (None, "not_an_object"),
        (click(properties={"name": "x" * MOST_CALL_BYTES}), "too_large"),
        (click(messageId="m" * 257), "message_id_too_long"),
        (click(messageId="m", properties={"products": nested(300)}), "nested_too_deeply"),
        (nested(300), "not_an_object"),
    ],
)
def test_a_call_that_cannot_be_read_is_a_fault_without_its_text(call: Any, fault: str) -> None:
    found = message(call)
    assert (found.payload["fault"], sorted(found.payload)) == (fault, ["fault", "sha256"])
    assert (found.user_key, found.user_id) == (None, None)


@pytest.mark.parametrize("word", ["null", "GUEST", "0", "walk-in", "x" * 257])
def test_words_for_nobody_are_no_person_to_remember(word: str) -> None:
    found = message(click(userId=word, context=YES), made=collector(placeholder_ids=["walk-in"]))
    assert (found.user_key, found.user_id) == (KEYS.of(word), None)
    assert found.effects.acted_on == ()


def test_robots_and_internal_visitors_are_marked_and_their_addresses_are_not_kept() -> None:
    made = collector(traffic={"internal_addresses": ["10.0.0.0/8"], "internal_users": ["qa"]})
    robot = {"userAgent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    for call, marks in (
        (click(context=robot), ["robot"]),
        (click(context={"ip": "10.1.2.3"}), ["internal"]),
        (click(userId="qa"), ["internal"]),
        (click(userId="x" * 257), ["user_id_too_long"]),
    ):
        found = message(call, made=made)
        assert found.payload["marks"] == marks
        assert found.effects.acted_on == ()
    assert "Googlebot" not in message(click(context=robot)).body
    assert "marks" not in message(click(context={"ip": "192.0.2.1", "userAgent": "Mozilla/5.0"}), made=made).payload


def test_a_refusal_counts_at_once_and_an_agreement_if_the_call_states_nothing_else() -> None:
    assert message(click(context=NO)).effects.answer is False
    assert message(click(context=YES)).effects.answer is None
    identified = {"type": "identify", "userId": "ann", "context": YES, "timestamp": "2026-11-29T10:00:00Z"}
    effects = message(identified, "2026-11-29T11:00:00Z").effects
    assert (effects.answer, effects.stated_at) == (True, RECEIVED - timedelta(hours=1))
    assert effects.joined == ()
    assert message(identified | {"anonymousId": "d"}).effects.joined == (KEYS.of_device("d"),)
    assert not message(click()).effects.agrees
    assert message(click(), made=collector(consent="opt-out")).effects.agrees
    assert message(click(context=YES)).effects.agrees


WORDS = st.sampled_from(["", " ", "null", "\0", "\ud83d", "user", "�", "x" * 300, "\u202e", "2999-01-01", "0001-01-01"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ["type", "event", "userId", "anonymousId", "previousId", "messageId", "timestamp", "sentAt", "context"]
MEMBERS += ["traits", "properties", "integrations"]
CALLS = st.dictionaries(st.sampled_from(MEMBERS), VALUES) | VALUES


@given(st.lists(CALLS, max_size=4), st.fixed_dictionaries({}, optional={"sentAt": VALUES, "context": VALUES}))
def test_whatever_a_batch_holds_each_call_is_a_message_and_the_sound_ones_are_kept(
    odd: Any, stated: JsonObject
) -> None:
    sound = click(messageId="sound", timestamp="2026-11-29T11:00:00Z", context=YES)
    text = json.dumps({"batch": [*odd, sound], **stated}).encode()
    messages = collector().messages(calls_of(parsed(text), None), "web", RECEIVED)
    assert len(messages) == len(odd) + 1
    assert all(one.body and one.digest and one.effects.stated_at for one in messages)
    kept = messages[-1]
    assert (kept.message_id, kept.user_id, kept.effects.acted_on) == ("sound", "ann", ("cup",))
    assert kept.payload["properties"] == {"product_id": "cup"}


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


def test_a_path_states_the_type_of_its_call_and_a_batch_the_context_of_all_its_calls() -> None:
    calls = calls_of({"event": "Product Viewed", "sentAt": "now", "type": "identify"}, "track")
    assert (calls.calls[0]["type"], calls.sent_at) == ("track", "now")
    for context, read in (({"ip": "::1"}, {"ip": "::1"}), (None, {}), ("x", {}), ([1], {})):
        assert calls_of({"batch": [], "context": context}, None).context == read
        assert calls_of({"event": "a", "context": context}, "track").context == {}


def test_a_batch_is_a_list_with_a_limit() -> None:
    for batch in (None, {}, "x", 5):
        with pytest.raises(UnusableBodyError, match="no list `batch`"):
            calls_of({"batch": batch}, None)
    assert len(calls_of({"batch": [{}] * MOST_CALLS}, None).calls) == MOST_CALLS
    with pytest.raises(BodyTooLargeError, match="2500 calls"):
        calls_of({"batch": [{}] * (MOST_CALLS + 1)}, None)
