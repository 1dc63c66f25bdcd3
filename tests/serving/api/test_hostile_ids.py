"""Hostile ids over HTTP: refused, or used exactly, and in no log, label or link in raw form."""

from io import StringIO
from urllib.parse import quote

import pytest

from models.ingest import placeholder_ids
from serving.answers.request import Visitor
from serving.api.gate.request_log import RequestLog
from serving.api.requests.values import checked_id, decoded_id
from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import of, of_device

pytestmark = pytest.mark.anyio
EXACT = (
    *("'; DROP TABLE users; --", "../../etc/passwd", "%2F", "%00", "a/b", "a?b#c", "NaN", "null", "0", "-1"),
    *("9223372036854775808", "👩‍👩‍👧‍👦" * 20, "مرحبا\u202e", "{user}", "recommendations", "<script>"),
    *('"', "\\", "a b", " ", "ä" * 256, "*", "a;b=c", "${jndi:ldap://x}", "key\u00a0"),
)
REFUSED = ("x" * 10_240, "x" * 257, "\0", "a\0b", "a\r\nSet-Cookie: x", "\n", "\x1b[31m", "\u2028", "\x7f", "\x85")


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


async def test_an_empty_id_and_one_that_is_not_utf_8_are_refused(shop: Shop) -> None:
    for path in ("/v1/users//recommendations", "/v1/users/%ff/recommendations", "/v1/users/%C0%AF/recommendations"):
        assert (await shop.client.get(path)).status_code == 422
    assert (await shop.client.get("/v1/users/a/b/recommendations")).status_code == 404
    assert (await shop.client.put("/v1/users/a/", json={"consent": True})).status_code == 404


async def test_ids_are_decoded_once() -> None:
    assert decoded_id(b"..") == ".."
    assert decoded_id(b"%2541") == "%41"
    assert checked_id("x" * 256) == "x" * 256
    with pytest.raises(ValueError, match="257 characters"):
        checked_id("x" * 257)
