"""Events of robots and of the shop's own people are marked."""

from typing import Any

import pyarrow as pa
import pytest

from models.ingest.source_config import MARKS, Traffic, known_robots, marked
from models.primitives.json_types import JsonObject

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
        *(True, False, False, False),
    ]


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        ("10.20.30.40", True),
        (" 10.0.0.1 ", True),
        ("::ffff:10.0.0.1", True),
        ("2001:db8::7", True),
        ("11.0.0.1", False),
        ("2001:db9::7", False),
        ("10.0.0.256", False),
        ("10.0.0.1, 11.0.0.1", False),
        ("office", False),
        ("", False),
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
    result = marked(visits(user_id=["abc", "abcd"]), Traffic(), limit=3)
    assert result["user_id_too_long"].to_pylist() == [False, True]


def test_columns_that_the_marks_were_made_of_are_gone_and_all_others_stay() -> None:
    rows = visits(user_agent=[FIREFOX], ip=["10.0.0.1"], item_id=["i"])
    result = marked(rows, Traffic())
    assert result.column_names == ["user_id", "item_id", *MARKS]
    assert result.select(["user_id", "item_id"]).equals(rows.select(["user_id", "item_id"]))


@pytest.mark.parametrize("columns", [{}, {"user_agent": [None] * 3, "ip": [None] * 3}], ids=["absent", "null"])
def test_without_agents_and_addresses_no_event_is_marked(columns: JsonObject) -> None:
    house = Traffic(internal_addresses=["0.0.0.0/0"])
    assert marks(house, user_id=["a", "b", None], **columns) == dict.fromkeys(MARKS, [False] * 3)


def test_no_rows_and_rows_in_pieces_are_marked_alike() -> None:
    rows = visits(user_agent=[FIREFOX, GOOGLEBOT, FIREFOX], ip=["10.0.0.1", "11.0.0.1", None], user_id=["a", "b", "c"])
    house = Traffic(internal_addresses=["10.0.0.0/8"], internal_users=["c"])
    pieces = pa.concat_tables([rows.slice(0, 1), rows.slice(1), rows.slice(0, 0)])
    assert marked(pieces, house).to_pylist() == marked(rows, house).to_pylist()
    assert marked(rows, house)["internal"].to_pylist() == [True, False, True]
    assert marked(rows.slice(0, 0), house).schema == marked(rows, house).schema
