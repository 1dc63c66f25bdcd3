"""The endpoints of Segment's libraries: paths, keys, origins and limits."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from serving.api.assembly import build_app
from serving.api.gate.keyring import Keyring
from serving.events.spool import SpoolFullError
from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import new_key

pytestmark = pytest.mark.anyio
ORIGIN = "https://shop.example"
ITEM = {"product_id": "a"}
CLICK = {"type": "track", "event": "Product Clicked", "messageId": "m", "userId": "7", "properties": ITEM}


@pytest.fixture
async def key(shop: Shop) -> str:
    text, record = new_key("collect")
    shop.keys["collect"] = text
    others = [new_key("read")[1]]
    shop.state.keyring = Keyring([record, *others], 1e6)
    shop.state.origins = frozenset({ORIGIN.encode()})
    shop.client.headers.pop("authorization")
    return text


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


async def post(shop: Shop, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await shop.client.post(path, content=content, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import"])
async def test_a_batch_is_taken_with_the_key_as_the_user_of_a_basic_login(shop: Shop, key: str, path: str) -> None:
    answer = await post(shop, path, {"batch": [CLICK, {**CLICK, "messageId": "n"}]}, **basic(key))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [(one.message_id, one.source, one.kind) for one in shop.events.messages] == [
        ("m", "test", "call"),
        ("n", "test", "call"),
    ]
    assert (await post(shop, path, {"batch": []}, **basic(key))).status_code == 200


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
async def test_each_type_has_a_long_and_a_short_path(shop: Shop, key: str, kind: str) -> None:
    for path in (kind, kind[0]):
        body = {"messageId": path, "userId": "7", "writeKey": key}
        assert (await post(shop, f"/v1/{path}", body)).status_code == 200
    assert [one.payload["type"] for one in shop.events.messages] == [kind, kind]


async def test_browsers_send_text_and_servers_gzip(shop: Shop, key: str) -> None:
    body = json.dumps({**CLICK, "writeKey": key}).encode()
    text = {"content-type": "text/plain;charset=UTF-8"}
    assert (await shop.client.post("/v1/t", content=body, headers=text)).status_code == 200
    packed = gzip.compress(json.dumps({"batch": [CLICK]}).encode())
    answer = await post(shop, "/v1/batch", packed, **basic(key), **{"content-encoding": "gzip"})
    assert answer.status_code == 200
    assert len(shop.events.messages) == 2
    assert (await post(shop, "/v1/t", body, **{"content-encoding": "br"})).status_code == 415


@pytest.mark.parametrize("stated", ["application/x-www-form-urlencoded", "application/octet-stream", "x", ""])
async def test_json_is_read_whatever_its_content_type(shop: Shop, key: str, stated: str) -> None:
    packed = gzip.compress(json.dumps({"batch": [CLICK]}).encode())
    headers = {**basic(key), "content-encoding": "gzip", "content-type": stated}
    assert (await shop.client.post("/v1/batch", content=packed, headers=headers)).status_code == 200
    assert [one.message_id for one in shop.events.messages] == ["m"]
    form = await post(shop, "/v1/batch", b"batch=x", **basic(key), **{"content-type": stated})
    assert (form.status_code, form.json()["type"]) == (400, "urn:tailorbird:problem:unreadable-body")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("path", "advice"),
    [
        *((path, "tailorbird ingest mixpanel") for path in ("/track", "/track/?verbose=1&ip=1", "/engage", "/groups/")),
        *((path, "PostHog") for path in ("/batch/", "/capture", "/e/?compression=gzip-js", "/i/v0/e/", "/flags/?v=2")),
    ],
)
async def test_other_live_libraries_are_answered_with_what_to_do_instead(shop: Shop, path: str, advice: str) -> None:
    answer = await post(shop, path, {"token": "t"})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tailorbird:problem:other-library")
    assert advice in answer.json()["detail"]
    assert "library of Segment" in answer.json()["detail"]
    assert (await shop.client.get(path.partition("?")[0])).status_code == 404
    assert shop.events.messages == []


async def test_only_pages_of_declared_origins_may_send(shop: Shop, key: str) -> None:
    taken = await post(shop, "/v1/t", CLICK, origin=ORIGIN, **basic(key))
    assert (taken.status_code, taken.headers["access-control-allow-origin"]) == (200, ORIGIN)
    for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
        refused = await post(shop, "/v1/t", CLICK, origin=origin, **basic(key))
        assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)
    assert len(shop.events.messages) == 1
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-retry-count"}
    preflight = await shop.client.options("/v1/t", headers={"origin": ORIGIN, **asked})
    assert preflight.status_code == 204
    assert {"authorization", "content-type", "x-retry-count"} <= set(
        preflight.headers["access-control-allow-headers"].split(", ")
    )
    assert (await shop.client.options("/v1/t", headers={"origin": "https://evil.example", **asked})).status_code == 401


async def test_a_key_of_a_page_only_sends_events(shop: Shop, key: str) -> None:
    bearer = {"authorization": f"Bearer {key}"}
    for path in ("/v1/popular", "/v1/users/7/recommendations", "/metrics"):
        assert (await shop.client.get(path, headers=bearer)).status_code == 403
    body = {"kind": "click", "item_id": "a", "user": "7"}
    assert (await shop.client.post("/v1/feedback", json=body, headers=bearer)).status_code == 403


async def test_other_keys_send_no_events(shop: Shop, key: str) -> None:
    text, record = new_key("admin")
    shop.state.keyring.replace([record])
    assert (await post(shop, "/v1/t", CLICK, **basic(text))).status_code == 403
    assert (await post(shop, "/v1/t", CLICK, **basic(key))).status_code == 401
    assert (await post(shop, "/v1/t", CLICK)).status_code == 401
    assert (await post(shop, "/v1/t", {**CLICK, "writeKey": 5})).status_code == 401
    assert shop.events.messages == []


async def test_libraries_get_settings_that_lead_back_here(shop: Shop, key: str) -> None:
    answer = await shop.client.get(f"/v1/projects/{key}/settings", headers={"origin": ORIGIN})
    own = answer.json()["integrations"]["Segment.io"]
    assert (own["apiKey"], own["apiHost"], own["protocol"]) == (key, "shop/v1", "http")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert (await shop.client.get("/v1/projects/unknown/settings")).status_code == 401
    odd = await shop.client.get(f"/v1/projects/{key}/settings", headers={"host": 'x"/<script>'})
    assert "apiHost" not in odd.json()["integrations"]["Segment.io"]


async def test_calls_that_are_not_durable_are_asked_for_again(shop: Shop, key: str) -> None:
    shop.events.error = SpoolFullError("down")
    answer = await post(shop, "/v1/batch", {"batch": [CLICK]}, **basic(key))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_bodies_are_bounded(shop: Shop, key: str) -> None:
    large = b'{"batch": ["' + b"x" * 512_000 + b'"]}'
    assert (await post(shop, "/v1/batch", large, **basic(key))).status_code == 413
    assert (
        await post(shop, "/v1/batch", gzip.compress(large), **basic(key), **{"content-encoding": "gzip"})
    ).status_code == 413
    for body in (b"{", b"[]", b'{"batch": 5}', b""):
        assert (await post(shop, "/v1/batch", body, **basic(key))).status_code == 400
    assert shop.events.messages == []


async def test_senders_that_are_slow_take_no_place_of_others(shop: Shop, key: str) -> None:
    ends, shop.state.most_active = asyncio.Event(), 1
    asked = asyncio.Semaphore(0)

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"batch": ['
        asked.release()
        await ends.wait()
        yield b"]}"

    def send() -> asyncio.Task[Any]:
        return asyncio.create_task(shop.client.post("/v1/b", content=slow_body(), headers=basic(key)))

    slow = [send() for _ in range(3)]
    for _ in slow:
        await asked.acquire()
    assert (await post(shop, "/v1/t", CLICK, **basic(key))).status_code == 200
    slow.append(send())
    await asked.acquire()
    refused = await post(shop, "/v1/t", CLICK, **basic(key))  # a fifth body would take more memory
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    ends.set()
    assert [(await one).status_code for one in slow] == [200] * 4


@pytest.mark.usefixtures("key")
async def test_measurements_of_libraries_are_taken_and_dropped(shop: Shop) -> None:
    assert (await post(shop, "/v1/m", {"series": []}, origin=ORIGIN)).status_code == 200
    assert shop.events.messages == []


async def test_each_call_is_charged_in_full_and_an_empty_batch_as_one(shop: Shop) -> None:
    text, record = new_key("collect", rate=1)
    shop.state.keyring = Keyring([record], 1e6)
    batch = {"batch": [{**CLICK, "messageId": str(number)} for number in range(100)]}
    assert (await post(shop, "/v1/batch", batch, **basic(text))).status_code == 200
    refused = await post(shop, "/v1/t", CLICK, **basic(text))
    assert (refused.status_code, int(refused.headers["retry-after"]) >= 99) == (429, True)
    assert len(shop.events.messages) == 100
    for kind in ("page", "server"):
        shop.state.keyring = Keyring([replace(record, kind=kind)], 1e6)
        empty = [await post(shop, "/v1/batch", {"batch": []}, **basic(text)) for _ in range(3)]
        assert [one.status_code for one in empty] == [200, 429, 429], kind


async def test_one_sender_with_the_key_of_a_page_does_not_silence_the_others(shop: Shop) -> None:
    text, record = new_key("collect", rate=40)
    shop.state.keyring = Keyring([replace(record, kind="page")], 1e6)
    batch = json.dumps({"batch": [{**CLICK, "messageId": str(number)} for number in range(400)]})

    async def status(address: str, path: str, body: str) -> int:
        transport = httpx.ASGITransport(build_app(shop.state), client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as sender:
            headers = {"content-type": "application/json", **basic(text)}
            return (await sender.post(path, content=body, headers=headers)).status_code

    assert [await status("10.0.0.1", "/v1/batch", batch) for _ in range(3)] == [200, 429, 429]
    await asyncio.sleep(0.1)  # the key gets four calls meanwhile
    assert [await status(f"10.0.0.{n}", "/v1/t", json.dumps(CLICK)) for n in (2, 3, 1)] == [200, 200, 429]


async def test_a_spent_page_key_keeps_out_only_visitors_of_today(shop: Shop) -> None:
    text, record = new_key("collect")
    shop.events.earlier = frozenset({shop.state.pseudonyms.of_device("d")})

    async def status(anonymous_id: str, **stated: str) -> int:
        return (await post(shop, "/v1/t", {**CLICK, "anonymousId": anonymous_id, **stated}, **basic(text))).status_code

    for kind, is_spent, expected in (
        ("page", False, [200] * 3),
        ("page", True, [200, 429, 429]),
        ("server", True, [200] * 3),
    ):
        shop.state.keyring = Keyring([replace(record, kind=kind, is_spent=is_spent)], 1e6)
        assert [await status("d"), await status("new"), await status("new", userId="d")] == expected, (kind, is_spent)
    charged = [one.charged for one in shop.events.messages]
    assert [one is not None and one[0] == record.key_id and one[1] > 100 for one in charged] == [True] * 4 + [False] * 3
    shop.state.keyring = Keyring([replace(record, kind="page", is_spent=True)], 1e6)
    refused = await post(shop, "/v1/t", CLICK, **basic(text))
    assert refused.json()["type"] == "urn:tailorbird:problem:quota-spent"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
