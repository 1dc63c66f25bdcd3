"""Requests of people over HTTP: scopes, words of Segment, and answers."""

import pytest

from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import of

pytestmark = pytest.mark.anyio
PATH = "/v1/privacy/requests"


async def test_a_request_has_a_number_and_a_state_and_needs_its_scope(shop: Shop) -> None:
    wanted = {"kind": "erase", "user_ids": ["1", "2"], "reason": "asked by mail"}
    for scope in ("read", "write"):
        assert (await shop.client.post(PATH, json=wanted, headers=shop.headers(scope))).status_code == 403
        assert (await shop.client.get(PATH, headers=shop.headers(scope))).status_code == 403
    made = await shop.client.post(PATH, json=wanted)
    assert made.status_code == 202
    assert [made.json()[name] for name in ("number", "users", "suppress", "actor")] == [1, 2, False, "test"]
    assert (await shop.client.get(f"{PATH}/1")).json() == made.json()
    assert (await shop.client.get(made.json()["file"])).content == b"PK"
    assert (await shop.client.get(PATH)).json() == {"requests": [made.json()], "next": None}
    refused = await shop.client.post(PATH, json={"kind": "lift", "user_ids": ["2", "3"]})
    assert refused.json()["type"] == "urn:tailorbird:problem:erasure-waits"


@pytest.mark.parametrize(
    ("word", "kind", "suppress"),
    [
        ("SUPPRESS_WITH_DELETE", "erase", True),
        ("DELETE_ONLY", "erase", False),
        ("SUPPRESS_ONLY", "restrict", False),
        ("UNSUPPRESS", "lift", False),
    ],
)
async def test_the_words_of_segment_are_understood(shop: Shop, word: str, kind: str, suppress: bool) -> None:
    wanted = {"regulationType": word, "subjectType": "USER_ID", "subjectIds": ["7"]}
    made = (await shop.client.post(PATH, json=wanted)).json()
    assert (made["kind"], made["suppress"], made["users"]) == (kind, suppress, 1)


async def test_a_correction_is_a_message_about_the_user(shop: Shop) -> None:
    wanted = {"kind": "correct", "user_ids": ["1"], "traits": {"age_band": "25-34", "city": None}}
    assert (await shop.client.post(PATH, json=wanted)).json()["kind"] == "correct"
    (message,) = shop.events.messages
    assert (message.kind, message.user_key, message.consent) == ("user", of("1"), None)
    assert message.payload == {"traits": {"age_band": "25-34"}, "unset": ["city"]}


async def test_an_objection_names_a_placement(shop: Shop) -> None:
    wanted = {"kind": "object", "user_ids": ["1"], "purpose": "email"}
    assert (await shop.client.post(PATH, json=wanted)).json()["purpose"] == "email"
    assert (await shop.client.post(PATH, json=wanted | {"purpose": "fax"})).status_code == 404


@pytest.mark.parametrize("number", ["0", "2", "one", "9" * 30, "1%2Ffile"])
async def test_an_unknown_number_is_not_found(shop: Shop, number: str) -> None:
    await shop.client.post(PATH, json={"kind": "restrict", "user_ids": ["1"]})
    for path in (f"{PATH}/{number}", f"{PATH}/{number}/file"):
        assert (await shop.client.get(path)).json()["type"] == "urn:tailorbird:problem:unknown-request"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "erase", "user_ids": []},
        {"kind": "erase", "user_ids": [str(number) for number in range(5001)]},
        {"kind": "forget", "user_ids": ["1"]},
        {"kind": "export", "user_ids": ["1", "2"]},
        {"kind": "object", "user_ids": ["1"]},
        {"kind": "correct", "user_ids": ["1"]},
        {"kind": "correct", "user_ids": ["1"], "traits": {"email": "a@b.example"}},
        {"kind": "correct", "user_ids": ["1", "2"], "traits": {"age_band": None}},
        {"kind": "erase", "user_ids": ["1"], "purpose": "email"},
        {"regulationType": "DELETE_ONLY", "subjectType": "OBJECT_ID", "subjectIds": ["1"]},
    ],
)
async def test_other_bodies_are_refused(shop: Shop, body: dict[str, object]) -> None:
    assert (await shop.client.post(PATH, json=body)).status_code == 422
    assert (await shop.client.get(PATH)).json()["requests"] == []
