from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.placeholder_ids import ITEMS, PEOPLE, spellings
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import MARKS, Traffic, brands, categories, currencies, known_robots, marked
from models.ingest.tabular.table_mapping import MappingError
from models.primitives.json_types import JsonObject


def mapping(**keys: Any) -> SegmentMapping:
    return SegmentMapping.parse({"kind": "segment", **keys}, "mine")


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


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 12, tzinfo=UTC)),
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
        ({"consent": "given"}, 'consent = "given" declares consent for all; state how it was given, as consent_note'),
        ({"from": "spring"}, "from: 'spring' is no time; write 2026-03-01"),
        ({"from": "2026-03-01", "to": "2026-03-01"}, "from .* has to come before to"),
        ({"placeholder_ids": [" "]}, "placeholder_ids: a word is empty"),
        ({"traffic": {"internal_addresses": ["office"]}}, "'office' does not .*; write an address or a network"),
        ({"spelling": {"brand": {"": "A"}}}, "spelling.brand: both sides need a text"),
        ({"spelling": {"category": {"A|B": "C"}}}, r"spelling.category: 'A\|B' is a path; write the levels"),
        ({"spelling": {"currency": {"Taler": "TLR"}}}, "spelling.currency: 'TLR' is no currency code"),
        ({"limits": {"events": {"days": [3, 2]}}}, r"limits.events.days: the lowest \(3\) is above the highest \(2\)"),
    ],
)
def test_invalid_keys_are_refused_with_a_correct_form(keys: JsonObject, message: str) -> None:
    with pytest.raises(MappingError, match=rf"mapping 'mine' cannot be used: .*{message}"):
        mapping(**keys)


def test_a_limit_is_the_highest_or_both_sides() -> None:
    limits = mapping(limits={"events": {"late_share": 0.1, "rows": [1000, ""], "days": ["", 31]}}).limits
    assert limits.events == {"late_share": (None, 0.1), "rows": (1000.0, None), "days": (None, 31.0)}
    assert (limits.items, limits.users) == ({}, {})


def texts(*text: str | None) -> pa.Array:
    return pa.array(text, pa.string())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("EUR", "EUR"),
        ("€", "EUR"),
        ("zł", "PLN"),
        ("moon money", "moon money"),
        (" ", None),
        (None, None),
    ],
)
def test_a_currency_becomes_its_code_or_stays_for_a_rule_to_find(text: str | None, code: str | None) -> None:
    result, count = currencies(texts(text), {})
    assert result.to_pylist() == [code]
    assert count == (text != code)


def test_a_mapping_names_further_currencies_and_what_a_sign_means_here() -> None:
    result, count = currencies(texts("Taler", "$", "USD", "TALER "), {"taler": "EUR", "$": "CAD"})
    assert (result.to_pylist(), count) == (["EUR", "CAD", "USD", "EUR"], 3)


def test_brands_are_spelt_as_declared_and_nothing_is_guessed() -> None:
    text = texts("ADIDAS  ag", " Adidas", "adidas", "Puma", None)
    result, count = brands(text, {"adidas AG": "Adidas", "adidas": "Adidas"})
    assert (result.to_pylist(), count) == (["Adidas", "Adidas", "Adidas", "Puma", None], 3)


def test_each_level_of_a_category_is_spelt_by_itself() -> None:
    text = texts("Clothes|t-shirts", "T-SHIRTS", "Clothes|T-shirts|Long t-shirts", None)
    result, count = categories(text, {"T-Shirts": "T-shirts", "clothes": "Clothing"})
    expected = ["Clothing|T-shirts", "T-shirts", "Clothing|T-shirts|Long t-shirts", None]
    assert (result.to_pylist(), count) == (expected, 3)


@pytest.mark.parametrize("normalise", [brands, categories, currencies])
def test_correct_spellings_come_back_untouched(normalise: Any) -> None:
    for text in (texts("USD", None, "USD"), texts(), texts(None), pa.chunked_array([texts("EUR"), texts("USD")])):
        result, count = normalise(text, {"Taler": "EUR"})
        assert result is text
        assert count == 0


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"
CUBOT = "Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) AppleWebKit/537.36 Chrome/90.0 Mobile Safari/537.36"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def visits(**columns: list[Any]) -> pa.Table:
    rows = max(map(len, columns.values()))
    return pa.table(
        {name: pa.array(values, pa.string()) for name, values in ({"user_id": ["u"] * rows} | columns).items()}
    )


def marks(traffic: Traffic, **columns: list[Any]) -> dict[str, list[bool]]:
    result = marked(visits(**columns), traffic)
    return {name: result[name].to_pylist() for name in MARKS}


def test_known_robots_are_marked_and_browsers_are_not() -> None:
    agents = [FIREFOX, GOOGLEBOT, "curl/8.5.0", "facebookexternalhit/1.1", CUBOT, "", None]
    expected = [False, True, True, True, False, False, False]
    assert marks(Traffic(), user_agent=agents)["robot"] == expected
    assert not any(marks(Traffic(robots=False), user_agent=agents)["robot"])


def test_every_example_of_the_list_is_found() -> None:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    examples = pa.array([agent for entry in CRAWLER_USER_AGENTS_DATA for agent in entry["instances"]])
    assert len(examples) > 1000
    assert all(known_robots(examples).to_pylist())


def test_further_robots_are_found_by_a_part_of_their_agent_in_any_case() -> None:
    columns = Traffic(robots=False, robot_agents=["pricechecker/", "(own)"])
    agents = ["My PriceChecker/2", "pricechecker", "Thing (OWN) 1", GOOGLEBOT]
    assert marks(columns, user_agent=agents)["robot"] == [True, False, True, False]


def test_people_of_the_house_are_known_by_their_id() -> None:
    assert marks(Traffic(internal_users=["qa"]), user_id=["qa", "QA", "qa2", None])["internal"] == [
        *(True, False, False, False)
    ]


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        ("10.20.30.40", True),
        (" 10.0.0.1 ", True),
        ("2001:db8::7", True),
        ("11.0.0.1", False),
        ("10.0.0.1, 11.0.0.1", False),
        ("office", False),
        (None, False),
    ],
)
def test_an_address_is_internal_when_a_network_of_the_house_has_it(address: str | None, internal: bool) -> None:
    house = Traffic(internal_addresses=["10.0.0.0/8", "2001:db8::/32"])
    assert marks(house, ip=[address])["internal"] == [internal]
    assert marks(Traffic(), ip=[address])["internal"] == [False]


def test_a_user_id_may_have_256_characters() -> None:
    ids = ["u" * 256, "é" * 257, "", None]
    assert marks(Traffic(), user_id=ids)["user_id_too_long"] == [False, True, False, False]


@pytest.mark.parametrize("columns", [{}, {"user_agent": [None] * 3, "ip": [None] * 3}], ids=["absent", "null"])
def test_without_agents_and_addresses_no_event_is_marked(columns: JsonObject) -> None:
    house = Traffic(internal_addresses=["0.0.0.0/0"])
    assert marks(house, user_id=["a", "b", None], **columns) == dict.fromkeys(MARKS, [False] * 3)


def test_a_placeholder_is_known_in_every_usual_case() -> None:
    assert spellings(["guest", "[object Object]"]) == [
        *("guest", "GUEST", "Guest"),
        *("[object Object]", "[object object]", "[OBJECT OBJECT]", "[Object Object]"),
    ]
    assert {"null", "NULL", "Null", "N/A", "0", "-1", "00000000-0000-0000-0000-000000000000", "Anonymous"} <= {*PEOPLE}


def test_an_item_may_be_called_what_no_user_is_called() -> None:
    assert {"null", "UNDEFINED", "NaN".lower()} <= {*ITEMS}
    assert not {"0", "-1", "guest", "*"} & {*ITEMS}
