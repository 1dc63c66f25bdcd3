from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from models.ingest.segment.segment_mapping import SegmentMapping, parse
from models.ingest.tabular.table_mapping import MappingError
from models.primitives.json_types import JsonObject


def mapping(**keys: Any) -> SegmentMapping:
    return parse({"kind": "segment", **keys}, "mine")


def test_a_mapping_need_state_nothing_and_asks_for_consent() -> None:
    defaults = mapping()
    assert (defaults.name, defaults.consent, defaults.start, defaults.end) == ("mine", "opt-in", None, None)
    assert defaults.consent_note == "opt-in: only events whose user agreed are taken"
    assert defaults.traffic.robots
    assert defaults.accepts_unknown_items


def test_each_way_of_consent_has_a_note_of_its_own_and_a_note_that_is_given_stays() -> None:
    assert mapping(consent="opt-out").consent_note.startswith("opt-out: ")
    assert mapping(consent="opt-out", consent_note="terms of 2024").consent_note == "terms of 2024"
    assert mapping(consent="given", consent_note="asked at the till").consent == "given"


def test_the_name_of_the_source_can_be_given() -> None:
    assert mapping(name="web").name == "web"


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 12, tzinfo=UTC)),
        (" 2026-03-01T12:00:00+02:00 ", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-5))), datetime(2026, 3, 1, 17, tzinfo=UTC)),
    ],
)
def test_the_window_begins_and_ends_in_utc(value: Any, moment: datetime) -> None:
    window = mapping(**{"from": value})
    assert (window.start, window.end) == (moment, None)
    assert window.start
    assert window.start.tzinfo is UTC
    assert mapping(to=value).end == moment


def test_the_same_decisions_are_written_the_same() -> None:
    starts = ("2026-03-01", date(2026, 3, 1), "2026-03-01T00Z")
    texts = {mapping(**{"from": value}).model_dump_json() for value in starts}
    assert len(texts) == 1
    assert mapping(to="2026-03-01").model_dump_json() not in texts


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"consent": "given"},
            'consent = "given" declares consent for all; state how it was given, as consent_note',
        ),
        ({"consent": "given", "consent_note": " "}, "state how it was given"),
        ({"consent": 1}, "consent: Input should be 'given', 'opt-in' or 'opt-out'"),
        ({"from": "spring"}, "from: 'spring' is no time; write 2026-03-01"),
        ({"from": 3}, "from: write a date or a time"),
        ({"from": "2026-03-01", "to": "2026-03-01"}, "from .* has to come before to"),
        ({"start": "2026-03-01"}, "start: there is no such key; the keys here are .*from, to"),
        ({"name": ""}, "name: "),
        ({"placeholder_ids": [" "]}, "placeholder_ids: a word is empty"),
        ({"traffic": {"internal_users": [""]}}, "traffic.internal_users: a word is empty"),
        ({"traffic": {"robot_agents": [""]}}, "traffic.robot_agents: a word is empty"),
        ({"traffic": {"internal_addresses": ["10.0.0.1/8"]}}, "traffic.internal_addresses: 10.0.0.1/8 has host bits"),
        ({"traffic": {"internal_addresses": ["office"]}}, "'office' does not .*; write an address or a network"),
        ({"spelling": {"brand": {"": "A"}}}, "spelling.brand: both sides need a text"),
        ({"spelling": {"category": {"A|B": "C"}}}, r"spelling.category: 'A\|B' is a path; write the levels"),
        ({"spelling": {"currency": {"Taler": "TLR"}}}, "spelling.currency: 'TLR' is no currency code"),
        ({"limits": {"events": {"rows": "many"}}}, "limits.events.rows: 'many' is no number"),
        ({"limits": {"events": {"rows": True}}}, "limits.events.rows: True is no number"),
        ({"limits": {"events": {"rows": [1]}}}, "limits.events.rows: write a number"),
        ({"limits": {"events": {"days": [3, 2]}}}, r"limits.events.days: the lowest \(3\) is above the highest \(2\)"),
        ({"limits": {"items": {"rows": float("nan")}}}, "limits.items.rows: nan is no number"),
        ({"events": {"Read": "reads"}}, "events: There is no event type 'reads'"),
        ({"page_pattern": "("}, "page_pattern: The page rule '.' is no regular expression"),
    ],
)
def test_invalid_keys_are_refused_with_a_correct_form(keys: JsonObject, message: str) -> None:
    with pytest.raises(MappingError, match=rf"mapping 'mine' cannot be used: .*{message}"):
        mapping(**keys)


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(MappingError, match=r"from: .*; traffic.robotz: .*; events: .*; page_pattern: "):
        mapping(**{"from": "x", "traffic": {"robotz": 1}, "events": {"A": "b"}, "page_pattern": "("})


def test_a_limit_is_the_highest_or_both_sides() -> None:
    limits = mapping(limits={"events": {"late_share": 0.1, "rows": [1000, ""], "days": ["", 31]}}).limits
    assert limits.events == {"late_share": (None, 0.1), "rows": (1000.0, None), "days": (None, 31.0)}
    assert (limits.items, limits.users) == ({}, {})
