"""Feedback, updates and hostile ids over HTTP: what becomes a durable message exactly, and what is refused."""

from io import StringIO
from itertools import product
from urllib.parse import quote

import pytest

from models.ingest import placeholder_ids
from models.primitives.json_types import JsonObject
from serving.answers.protocol import Visitor
from serving.api.gate.request_log import RequestLog
from serving.api.requests.values import checked_id, decoded_id
from serving.events.message import RefusedMessageError
from serving.events.spool import SpoolFullError
from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import of, of_device

pytestmark = pytest.mark.anyio
EXACT = (
    *("'; DROP TABLE users; --", "../../etc/passwd", "%2F", "%00", "a/b", "a?b#c", "NaN", "null", "0", "-1"),
    *("9223372036854775808", "👩‍👩‍👧‍👦" * 20, "مرحبا\u202e", "{user}", "recommendations", "<script>"),
    *('"', "\\", "a b", " ", "ä" * 256, "*", "a;b=c", "${jndi:ldap://x}", "key\u00a0"),
)
REFUSED = ("x" * 10_240, "x" * 257, "\0", "a\0b", "a\r\nSet-Cookie: x", "\n", "\x1b[31m", "\u2028", "\x7f", "\x85")


async def test_feedback_becomes_one_message_with_pseudonyms(shop: Shop) -> None:
    body = {"kind": "click", "item_id": "a", "user": "7", "session": "s", "message_id": "m-1", "position": 2}
    body |= {"recommendation_id": "0f8f", "occurred_at": "2026-11-29T10:00:00+01:00"}
    answer = await shop.client.post("/v1/feedback", json=body)
    assert (answer.status_code, answer.json()) == (202, {"message_id": "m-1", "status": "stored"})
    (message,) = shop.events.messages
    assert (message.kind, message.user_key, message.session_key) == ("event", of("7"), of_device("s"))
    assert (message.earlier_key, message.user_id) == (of("s"), "7")
    assert message.payload["occurred_at"] == "2026-11-29T09:00:00+00:00"
    assert "7" not in message.payload.values()


async def test_not_interested_hides_the_item_at_once(shop: Shop) -> None:
    body = {"kind": "not_interested", "item_id": "a", "user": "7"}
    assert (await shop.client.post("/v1/feedback", json=body)).status_code == 202
    assert (await shop.client.post("/v1/batch/feedback", json={"messages": [body, body]})).status_code == 202
    assert shop.answers.hidden == [(Visitor(of("7")), "a")] * 3
    assert len({message.message_id for message in shop.events.messages}) == 3


async def test_items_are_changed_one_by_one_and_together(shop: Shop) -> None:
    change = {"price": 2, "in_stock": False, "hidden": True}
    for method in ("PUT", "PATCH"):
        assert (await shop.client.request(method, "/v1/items/a%2Fb", json=change)).status_code == 202
    whole = await shop.client.patch("/v1/items", json={"items": [{"item_id": "c", "price": 3.5, "message_id": "m"}]})
    assert whole.json() == {"messages": [{"message_id": "m", "status": "stored"}]}
    payloads = [message.payload for message in shop.events.messages]
    assert payloads[:2] == [{"item_id": "a/b", "price": 2.0, "in_stock": False, "hidden": True}] * 2
    assert payloads[2] == {"item_id": "c", "price": 3.5}


async def test_a_user_states_consent_traits_and_what_not_to_show(shop: Shop) -> None:
    body = {"consent": False, "traits": {"age_band": "25-34"}, "exclusions": [{"kind": "brand", "value": "X"}]}
    assert (await shop.client.put("/v1/users/7", json=body)).status_code == 202
    (message,) = shop.events.messages
    assert (message.kind, message.user_key, message.user_id, message.consent) == ("user", of("7"), "7", False)
    assert message.payload["exclusions"] == [{"kind": "brand", "value": "X"}]
    refused = await shop.client.put("/v1/users/7", json={"traits": {"religion": "secret"}})
    assert refused.status_code == 422
    assert "TAILORBIRD_USER_TRAITS, which has age_band" in refused.json()["detail"]
    assert "religion" not in refused.text


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"kind": "bought", "item_id": "a", "user": "7"}, "/kind"),
        ({"kind": "click", "item_id": "a\u0000", "user": "7"}, "/item_id"),
        ({"kind": "click", "item_id": "a"}, "/"),
        ({"kind": "rating", "item_id": "a", "user": "7"}, "/"),
        ({"kind": "click", "item_id": "a", "user": "7", "position": "2"}, "/position"),
        ({"kind": "click", "item_id": "a", "user": "7", "occurred_at": "2026-11-29T10:00:00"}, "/occurred_at"),
        ({"kind": "click", "item_id": "a", "user": "7", "occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at"),
        ({"kind": "click", "item_id": "a", "user": "7", "password": "hunter2"}, "/password"),
        # The rules of the lake, which would put the event into quarantine later.
        ({"kind": "click", "item_id": "undefined", "user": "7"}, "message 0"),
        ({"kind": "click", "item_id": "a", "user": "guest"}, "/"),
        ({"kind": "purchase", "item_id": "a", "user": "7", "quantity": 1001}, "/quantity"),
        ({"kind": "purchase", "item_id": "a", "user": "7", "value": 1, "currency": "ZZZ"}, "/currency"),
        ({"kind": "rating", "item_id": "a", "user": "7", "rating": 1001}, "/rating"),
        ({"kind": "click", "item_id": "a", "user": "7", "occurred_at": "1989-12-31T23:59:59Z"}, "/occurred_at"),
        ({"kind": "click", "item_id": "a", "user": "7", "occurred_at": "2999-01-01T00:00:00Z"}, "/occurred_at"),
        ([], "/"),
    ],
)
async def test_refused_feedback_names_the_field_and_no_value(shop: Shop, body: JsonObject, place: str) -> None:
    answer = await shop.client.post("/v1/feedback", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["faults"][0]["place"] == place
    assert "hunter2" not in answer.text
    assert shop.events.messages == []


@pytest.mark.parametrize("content", [b"{", b"", b"\xff", b'{"kind": NaN}', b"[" * 100_000, b'{"item_id": "\\ud800"}'])
async def test_a_body_that_is_no_json_is_a_problem_and_no_crash(shop: Shop, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await shop.client.post("/v1/feedback", content=content, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_feedback_that_cannot_be_made_durable_is_refused_and_not_lost_in_silence(shop: Shop) -> None:
    body = {"kind": "click", "item_id": "a", "user": "7", "message_id": "m"}
    shop.events.error = SpoolFullError("full")
    full = await shop.client.post("/v1/feedback", json=body)
    assert (full.status_code, full.headers["retry-after"]) == (503, "5")
    shop.events.error = RefusedMessageError("A text contains the character NUL.")
    assert (await shop.client.post("/v1/feedback", json=body)).status_code == 422
    shop.events.error, shop.events.receipt = None, "conflict"
    assert (await shop.client.post("/v1/feedback", json=body)).status_code == 409
    shop.events.receipt = "spooled"
    assert (await shop.client.post("/v1/feedback", json=body)).json()["status"] == "spooled"


async def test_links_of_an_item_lead_to_the_web(shop: Shop) -> None:
    for address in ("javascript:alert(1)", "//evil.example", "ftp://x"):
        answer = await shop.client.put("/v1/items/a", json={"url": address})
        assert (answer.status_code, answer.json()["faults"][0]["place"]) == (422, "/url")
    assert (await shop.client.put("/v1/items/a", json={"url": "https://shop.example/a"})).status_code == 202
    assert (await shop.client.patch("/v1/items/a", json={"message_id": "m"})).status_code == 422


@pytest.mark.parametrize("name", ["title", "category", "brand", "url", "image"])
async def test_an_empty_value_of_an_item_is_refused_at_once(shop: Shop, name: str) -> None:
    unseen = ["", " ", "\u200b", "|"] if name in ("title", "category", "brand") else [""]
    for method, text in product(("PUT", "PATCH"), unseen):
        answer = await shop.client.request(method, "/v1/items/a", json={name: text})
        assert (answer.status_code, answer.json()["faults"][0]["place"]) == (422, f"/{name}")
    assert (await shop.client.put("/v1/items/a", json={"attributes": {"size": ""}})).status_code == 422
    assert (await shop.client.put("/v1/items/undefined", json={"title": "T"})).status_code == 422
    assert shop.events.messages == []


async def test_messages_about_an_unknown_item_are_refused_and_only_a_put_adds_it(shop: Shop) -> None:
    shop.answers.unknown = frozenset({"new"})
    known, act = ({"kind": "click", "item_id": item, "user": "7"} for item in ("a", "new"))
    change = {"item_id": "new", "in_stock": True}
    for method, path, body, place in (
        ("POST", "/v1/feedback", act, 0),
        ("POST", "/v1/batch/feedback", {"messages": [known, act]}, 1),
        ("PATCH", "/v1/items/new", {"in_stock": True}, 0),
        ("PATCH", "/v1/items", {"items": [{**change, "item_id": "a"}, change]}, 1),
    ):
        answer = await shop.client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:tailorbird:problem:unknown-item")
        assert answer.json()["faults"] == [{"place": f"message {place}", "detail": "Unknown item."}]
        assert "PUT /v1/items" in answer.json()["detail"]
    assert shop.events.messages == []
    assert shop.answers.hidden == []
    assert (await shop.client.put("/v1/items/new", json={"title": "T"})).status_code == 202


async def test_acts_on_a_variant_are_stored_and_values_of_one_are_refused(shop: Shop) -> None:
    shop.answers.products, shop.answers.unknown = {"hat S": "hat"}, frozenset({"hat S"})
    act = {"item_id": "hat S", "user": "7"}
    for kind in ("click", "not_interested"):
        assert (await shop.client.post("/v1/feedback", json={**act, "kind": kind})).status_code == 202
    click, uninterested = shop.events.messages
    assert click.payload["item_id"] == "hat S"  # the size is stored
    assert uninterested.payload["exclusions"] == [{"kind": "item", "value": "hat"}]
    assert [item for _, item in shop.answers.hidden] == ["hat"]
    excluded = {"exclusions": [{"kind": "item", "value": "hat S"}, {"kind": "brand", "value": "hat S"}]}
    assert (await shop.client.put("/v1/users/7", json=excluded)).status_code == 202
    assert [one["value"] for one in shop.events.messages[-1].payload["exclusions"]] == ["hat", "hat S"]
    shop.events.messages.clear()
    fault = {"place": "message 0", "detail": "The id is that of a variant. State values of its item hat."}
    for method in ("PATCH", "PUT"):
        answer = await shop.client.request(method, "/v1/items/hat%20S", json={"in_stock": False})
        assert (answer.status_code, answer.json()["faults"], shop.events.messages) == (422, [fault], [])


@pytest.mark.parametrize("hostile", EXACT)
async def test_an_unusual_id_is_used_exactly_everywhere(shop: Shop, hostile: str) -> None:
    log = StringIO()
    shop.state.log = RequestLog("all", log)
    encoded = quote(hostile, safe="")
    answer = await shop.client.get(f"/v1/users/{encoded}/recommendations?k=1&session={encoded}&context={encoded}")
    assert answer.status_code == 200, answer.text
    (request,) = shop.answers.requests
    assert request.visitor == Visitor(of(hostile), of_device(hostile))
    assert request.context == (hostile,)
    following = await shop.client.get(answer.json()["next"])
    assert following.status_code == 200
    assert shop.answers.requests[1].visitor == request.visitor
    assert (await shop.client.get(f"/v1/items/{encoded}/similar")).status_code == 200
    assert shop.answers.about == [(hostile,)]
    item = hostile if hostile not in placeholder_ids.ITEMS else "no placeholder"
    assert (await shop.client.put(f"/v1/items/{quote(item, safe='')}", json={"price": 1})).status_code == 202
    assert (await shop.client.put(f"/v1/users/{encoded}", json={"consent": True})).status_code == 202
    user = hostile if hostile not in placeholder_ids.PEOPLE else "no placeholder"
    body = {"kind": "click", "item_id": item, "user": user}
    assert (await shop.client.post("/v1/feedback", json=body)).status_code == 202
    assert [message.user_id for message in shop.events.messages] == [None, hostile, user]
    assert shop.events.messages[0].payload["item_id"] == item
    written = log.getvalue() + (await shop.client.get("/metrics")).text
    if len(hostile) > 3 and hostile not in ("{user}", "recommendations", "null"):
        assert hostile not in written
        assert encoded not in written


@pytest.mark.parametrize("hostile", REFUSED)
async def test_an_impossible_id_is_refused_everywhere(shop: Shop, hostile: str) -> None:
    encoded = quote(hostile, safe="")
    for path in (f"/v1/users/{encoded}/recommendations", f"/v1/items/{encoded}/similar", f"/v1/new?exclude={encoded}"):
        answer = await shop.client.get(path)
        assert answer.status_code in (414, 422), path
        assert hostile not in answer.text
        assert encoded not in answer.text
        assert len(answer.content) < 1000
    for item, user in ((hostile, "7"), ("7", hostile)):
        body = {"kind": "click", "item_id": item, "user": user}
        assert (await shop.client.post("/v1/feedback", json=body)).status_code == 422
    assert (await shop.client.put(f"/v1/users/{encoded}", json={"consent": True})).status_code in (414, 422)
    assert shop.answers.requests == []
    assert shop.events.messages == []


async def test_an_empty_id_and_one_that_is_not_utf_8_are_refused_and_others_decoded_once(shop: Shop) -> None:
    for path in ("/v1/users//recommendations", "/v1/users/%ff/recommendations", "/v1/users/%C0%AF/recommendations"):
        assert (await shop.client.get(path)).status_code == 422
    assert (await shop.client.get("/v1/users/a/b/recommendations")).status_code == 404
    assert (await shop.client.put("/v1/users/a/", json={"consent": True})).status_code == 404
    assert decoded_id(b"..") == ".."
    assert decoded_id(b"%2541") == "%41"
    assert checked_id("x" * 256) == "x" * 256
    with pytest.raises(ValueError, match="257 characters"):
        checked_id("x" * 257)
