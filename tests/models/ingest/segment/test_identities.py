import json
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.interactions import allowed
from models.ingest.segment.parse import parse_lines
from models.primitives.json_types import JsonObject


def shaped(*events: JsonObject, traits: tuple[str, ...] = ()) -> ParsedLines:
    lines = pa.table({"row_number": range(len(events)), "text": [json.dumps(event) for event in events]})
    return parse_lines(lines, traits=traits)


def identify(traits: Any, **envelope: Any) -> JsonObject:
    return {"type": "identify", "userId": "u", "traits": traits, **envelope}


PERSONAL = ("email", "E-Mail", "name", "firstName", "last_name", "Full Name", "phone", "mobile_number", "home street")


@pytest.mark.parametrize("trait", PERSONAL)
def test_a_trait_that_identifies_a_person_is_never_kept_even_when_it_is_asked_for(trait: str) -> None:
    users = shaped(identify({trait: "x", "age": "30"}), traits=(trait, "age")).users
    assert users["attributes"].to_pylist() == [{"age": "30"}]


def test_only_traits_on_the_allow_list_are_kept_and_each_once() -> None:
    assert allowed(["age", "plan", "age"]) == ["age", "plan"]
    assert shaped(identify({"age": 30})).users["attributes"].to_pylist() == [{}]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("25-34", "25-34"),
        (30, "30"),
        (True, "true"),
        (["Kitchen", "Garden"], '["Kitchen","Garden"]'),
        ({"email": "x"}, None),
        ([{"email": "x"}], None),
        ("peter@example.org", None),
        (["peter@example.org"], None),
        ("", None),
        (None, None),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_a_trait_is_a_plain_value_or_a_list_of_them_and_no_address_hides_in_it(value: Any, stored: str | None) -> None:
    assert shaped(identify({"plan": value}), traits=("plan",)).users["attributes"].to_pylist() == [{"plan": stored}]


def test_traits_may_have_any_name() -> None:
    traits = {"age": "1", "Age": "2", "a/b~c": "3", 'it\'s "x"': "4"}
    assert shaped(identify(traits), traits=tuple(traits)).users["attributes"].to_pylist() == [traits]


def test_identify_and_alias_state_which_ids_are_one_person() -> None:
    result = shaped(
        identify({}, anonymousId="a"),
        {"type": "alias", "previousId": "b", "userId": "u"},
        {"type": "alias", "anonymousId": "c", "userId": "u"},
        {"type": "alias", "previousId": "u", "userId": "u"},
        {"type": "identify", "anonymousId": "d"},
        {"type": "track", "event": "Product Viewed", "userId": "u", "anonymousId": "e"},
    )
    names = ("row_number", "anonymous_id", "is_device", "user_id")
    joined = [tuple(row[name] for name in names) for row in result.aliases.to_pylist()]
    assert joined == [
        *((0, "a", True, "u"), (1, "b", False, "u"), (1, "b", True, "u"), (2, "c", True, "u"), (3, "u", True, "u"))
    ]
    assert result.users["user_id"].to_pylist() == ["u", "d"]
    assert result.routed["kind"].to_pylist() == ["identify", "alias", "alias", "alias", "identify"]
