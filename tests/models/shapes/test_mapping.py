from typing import Any

import pytest

from models.shapes.mapping import MappingError, parse

CONTENT: dict[str, Any] = {
    "location": "somewhere",
    "consent": "given",
    "consent_note": "asked at the till",
    "events": {
        "file": "e",
        "event_id": "id",
        "user_id": "who",
        "item_id": "what",
        "session_id": "basket",
        "occurred_at": "at",
        "constants": {"event_type": "purchase"},
    },
    "items": {"file": "i", "item_id": "id", "title": "name", "category": ["c"]},
    "users": {"file": "u", "user_id": "id", "attributes": []},
}


def test_a_complete_mapping_is_understood_and_frozen() -> None:
    mapping = parse(CONTENT, "mine")
    assert (mapping.name, mapping.events.quantity, mapping.items.not_merchandise) == ("mine", None, [])
    with pytest.raises(ValueError, match="frozen"):
        mapping.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"consent": "maybe"}, "consent"),
        ({"evnets": {}}, "evnets"),
        ({"users": {"file": "u", "user_id": "id"}}, "users.attributes"),
        ({"items": CONTENT["items"] | {"colour": "red"}}, "items.colour"),
        ({"events": CONTENT["events"] | {"constants": {"evnt_type": "purchase"}}}, "events.constants.evnt_type"),
    ],
)
def test_what_is_missing_or_misspelt_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(MappingError, match=rf"mapping 'mine' cannot be used: .*{named}"):
        parse(CONTENT | change, "mine")
