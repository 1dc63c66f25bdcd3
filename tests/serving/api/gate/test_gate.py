"""The gate: keys of memory, database and copy, scopes, limits, headers, logs, traces, and errors for everything."""

import asyncio
import json
import stat
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from queue import Queue
from threading import Thread
from time import monotonic
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import text
from starlette.testclient import TestClient

from infra.database.engine import engine
from infra.keys.api_keys import ApiKey, all_scopes, hash_of
from infra.keys.recorded_api_keys import NewKey, create_key, list_keys, revoke_key, rotate_key
from models.errors import TailorbirdError
from serving.api.assembly import build_app
from serving.api.gate.keyring import Keyring, RecordedKeys
from serving.api.gate.request_log import RequestLog, configured_traces
from serving.api.gate.routes import MOST_BYTES
from serving.stores.postgres import Postgres
from serving.stores.shared_loads import PostgresDownError
from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import FakeAnswers, new_key, state_of

pytestmark = pytest.mark.anyio
LIST = "/v1/users/7/recommendations"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ROUTE = "/v1/users/{user}/recommendations"


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["type"] == f"urn:tailorbird:problem:{kind}"
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


@pytest.mark.parametrize("path", [LIST, "/v1/popular", "/metrics", "/openapi.json", "/nowhere", "/v1/slots/home"])
async def test_nothing_but_health_is_answered_without_a_key(shop: Shop, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer x"}, {"x-api-key": "tb_0_0"}, {"authorization": "Basic !"}):
        answer = await shop.client.get(path, headers={"authorization": "", **headers})
        problem(answer, 401, "key-required")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for open_path in ("/livez", "/readyz"):
        assert (await shop.client.get(open_path, headers={"authorization": ""})).status_code == 200


async def test_a_key_is_accepted_in_three_forms_and_only_whole(shop: Shop) -> None:
    key = shop.keys["read"]
    login = b64encode(f"metrics:{key}".encode()).decode()
    for headers in ({"authorization": f"bearer {key}"}, {"x-api-key": key}, {"authorization": f"Basic {login}"}):
        assert (await shop.client.get(LIST, headers={"authorization": "", **headers})).status_code == 200
    for wrong in (key[:-1], key + "0", key.upper(), key[:-1] + ("0" if key[-1] != "0" else "1"), key * 20, "é" * 70):
        answer = await shop.client.get(LIST, headers={"x-api-key": wrong.encode(), "authorization": ""})
        problem(answer, 401, "key-required")
        assert wrong not in answer.text


async def test_a_key_does_what_its_scopes_allow(shop: Shop) -> None:
    body = {"kind": "click", "item_id": "a", "user": "7"}
    read, write = shop.headers("read"), shop.headers("write")
    assert (await shop.client.get(LIST, headers=read)).status_code == 200
    assert (await shop.client.post("/v1/rank", json={"items": ["a"]}, headers=read)).status_code == 200
    problem(await shop.client.post("/v1/feedback", json=body, headers=read), 403, "scope-required")
    problem(await shop.client.patch("/v1/items/a", json={"price": 1}, headers=read), 403, "scope-required")
    problem(await shop.client.put("/v1/users/a", json={"consent": True}, headers=read), 403, "scope-required")
    assert (await shop.client.post("/v1/feedback", json=body, headers=write)).status_code == 202
    problem(await shop.client.get(LIST, headers=write), 403, "scope-required")


async def test_keys_that_expired_or_left_the_keyring_are_refused_at_once(shop: Shop) -> None:
    text, key = new_key("read")
    old = ApiKey(key.key_id, "old", key.scopes, key.secret_hash, valid_until=monotonic() - 1)
    for keys, status in (([key], 200), ([old], 401), ([], 401)):
        shop.state.keyring.replace(keys)
        assert (await shop.client.get(LIST, headers={"authorization": f"Bearer {text}"})).status_code == status
    shop.state.keyring = Keyring()
    problem(await shop.client.get(LIST), 503, "keys-unavailable")
    standalone = "s" * 40
    shop.state.keyring.replace([ApiKey("standalone", "s", all_scopes(["read"]), hash_of(standalone))])
    assert (await shop.client.get(LIST, headers={"x-api-key": standalone, "authorization": ""})).status_code == 200


async def test_a_caller_beyond_its_rate_waits_and_others_do_not(shop: Shop) -> None:
    slow, key = new_key("read", rate=2)
    fast, other = new_key("read")
    shop.state.keyring.replace([key, other])
    answers = [await shop.client.get(LIST, headers={"authorization": f"Bearer {slow}"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    problem(answers[2], 429, "rate-exceeded")
    assert answers[2].headers["retry-after"] == "1"
    assert answers[0].headers["ratelimit-policy"] == '"default";q=2;w=1'
    assert answers[0].headers["ratelimit"] == '"default";r=1;t=1'
    assert (await shop.client.get(LIST, headers={"authorization": f"Bearer {fast}"})).status_code == 200
    shop.state.keyring.replace([key, other])  # a refresh gives nobody new requests
    assert (await shop.client.get(LIST, headers={"authorization": f"Bearer {slow}"})).status_code == 429


async def test_each_list_of_a_batch_counts(shop: Shop) -> None:
    text, key = new_key("read", rate=20)
    shop.state.keyring.replace([key])
    headers = {"authorization": f"Bearer {text}"}
    batch = {"users": [str(number) for number in range(30)], "k": 1}
    first = await shop.client.post("/v1/batch/recommendations", json=batch, headers=headers)
    assert (first.status_code, first.headers["ratelimit"]) == (200, '"default";r=0;t=2')
    assert (await shop.client.get(LIST, headers=headers)).status_code == 429
    slow, other = new_key("write", rate=2)
    shop.state.keyring.replace([other])
    headers = {"authorization": f"Bearer {slow}"}
    acts = {"messages": [{"kind": "click", "item_id": "a", "user": f"u{number}"} for number in range(100)]}
    for body, status in ((acts, 202), (acts, 429)):
        answer = await shop.client.post("/v1/batch/feedback", json=body, headers=headers)
        assert answer.status_code == status
    assert int(answer.headers["retry-after"]) >= 49  # the debt is paid in full


async def test_overload_is_shed_while_health_still_answers(shop: Shop) -> None:
    gate, shop.state.most_active = asyncio.Event(), 2

    async def waiting(_: object) -> object:
        await gate.wait()
        return await FakeAnswers().recommend(shop.answers.requests[0])

    await shop.client.get(LIST)
    shop.answers.recommend = waiting  # type: ignore[assignment,method-assign]
    active = [asyncio.create_task(shop.client.get(LIST)) for _ in range(2)]
    while shop.state.keyring.used and not all(task.get_coro() is not None for task in active):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    shed = await shop.client.get(LIST)
    problem(shed, 503, "overloaded")
    assert shed.headers["retry-after"] == "1"
    assert (await shop.client.get("/readyz")).status_code == 200
    gate.set()
    assert [(await task).status_code for task in active] == [200, 200]
    shop.answers.recommend = FakeAnswers().recommend  # type: ignore[method-assign]
    assert (await shop.client.get(LIST)).status_code == 200


async def test_errors_of_the_protocol_are_problems_too(shop: Shop) -> None:
    problem(await shop.client.get("/v1"), 404, "unknown-path")
    refused = await shop.client.delete(LIST)
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "GET"
    assert (await shop.client.get("/v1/items/a")).headers["allow"] == "PATCH, PUT"
    problem(await shop.client.request("BREW", "/v1/popular"), 405, "method-not-allowed")
    problem(await shop.client.get("/v1/popular?" + "x" * 40_000), 414, "path-too-long")
    problem(await shop.client.get("/v1/popular", headers={"x-more": "x" * 40_000}), 431, "headers-too-large")
    json_type = {"content-type": "application/json"}
    big = b" " * (MOST_BYTES + 1)
    problem(await shop.client.post("/v1/rank", content=big, headers=json_type), 413, "body-too-large")

    async def chunks() -> object:
        for _ in range(20):
            yield b" " * (MOST_BYTES // 10)

    problem(await shop.client.post("/v1/rank", content=chunks(), headers=json_type), 413, "body-too-large")  # type: ignore[arg-type]
    problem(await shop.client.post("/v1/rank", data={"a": "b"}), 415, "unsupported-media-type")
    packed = {**json_type, "content-encoding": "gzip"}
    problem(await shop.client.post("/v1/rank", content=b"x", headers=packed), 415, "unsupported-media-type")
    assert (await shop.client.head(LIST)).status_code == 200


async def test_a_defect_is_a_problem_for_the_caller_and_named_in_the_log_without_values(shop: Shop) -> None:
    log = StringIO()
    shop.state.log, shop.answers.error = RequestLog("errors", log), KeyError("secret-user-77")
    answer = await shop.client.get("/v1/users/secret-user-77/recommendations", headers={"x-request-id": "r-1"})
    document = problem(answer, 500, "internal-error")
    assert document["request_id"] == "r-1"
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["request_id"], line["route"]) for line in lines] == [
        ("defect", "r-1", "/v1/users/{user}/recommendations"),
        ("request", "r-1", "/v1/users/{user}/recommendations"),
    ]
    assert (lines[0]["error"], "fakes.py" in str(lines[0]["at"])) == ("builtins.KeyError", True)
    assert "secret-user" not in log.getvalue() + answer.text
    assert shop.keys["admin"] not in log.getvalue()
    post = await shop.client.post("/v1/baskets/goes-with", json={"items": ["secret-user-77"]})
    problem(post, 500, "internal-error")


async def test_request_ids_of_callers_are_kept_if_they_are_harmless(shop: Shop) -> None:
    for given, kept in (("a.B-7_", True), ("x" * 65, False), ("a b", False), ("a\tb", False), ("ä", False)):
        answer = await shop.client.get(LIST, headers={"x-request-id": given.encode()})
        assert (answer.headers["x-request-id"] == given) is kept


async def test_every_answer_has_the_headers_of_security(shop: Shop) -> None:
    for path in (LIST, "/nowhere", "/livez", "/v1/slots/home?format=html"):
        headers = (await shop.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in headers


async def test_only_pages_of_allowed_origins_may_call_from_a_browser(shop: Shop) -> None:
    asks = {"origin": "https://shop.example", "access-control-request-method": "GET", "authorization": ""}
    problem(await shop.client.options(LIST, headers=asks), 401, "key-required")
    shop.state.origins = frozenset({b"https://shop.example"})
    allowed = await shop.client.options(LIST, headers=asks)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, "https://shop.example")
    answer = await shop.client.get(LIST, headers={"origin": "https://shop.example"})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    other = await shop.client.get(LIST, headers={"origin": "https://shop.example.evil.example"})
    assert "access-control-allow-origin" not in other.headers


async def test_requests_are_counted_by_template_method_and_class(shop: Shop) -> None:
    for path in (LIST, "/v1/users/8/recommendations", "/v1/users/8/recommendations?k=0", "/x/8", "/y/9"):
        await shop.client.get(path)
    await shop.client.request("SECRET", "/v1/popular")
    text = (await shop.client.get("/metrics")).text
    lines = [line for line in text.splitlines() if "duration_seconds_count" in line]
    name = "tailorbird_http_request_duration_seconds_count"
    route = "/v1/users/{user}/recommendations"
    for status in ("2xx", "4xx"):
        assert any(f'{name}{{method="GET",route="{route}",status_class="{status}"}}' in line for line in lines)
    assert any('route="unknown",status_class="4xx"' in line for line in lines)
    assert not [line for line in lines if "/x/8" in line or "SECRET" in line]


async def test_a_server_that_stops_asks_clients_to_close_and_is_not_ready(shop: Shop) -> None:
    assert "connection" not in (await shop.client.get(LIST)).headers
    shop.state.is_stopping = True
    answer = await shop.client.get(LIST)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    ready = await shop.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
    assert (await shop.client.get("/livez")).status_code == 200


class Away:
    """A database that does not answer."""

    async def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:  # noqa: ARG002
        raise PostgresDownError("Postgres does not answer.")


def accepts(keyring: Keyring, key: object) -> bool:
    return keyring.find(f"Bearer {key}".encode(), b"") is not None


async def test_valid_keys_are_read_and_their_use_is_recorded(database: str, tmp_path: Path) -> None:
    opened, keyring, copy = engine(database), Keyring(), tmp_path / "serving" / "keys.json"
    first = create_key(opened, NewKey("shop", ["read"], 40, timedelta(days=1)), "ann")
    other = create_key(opened, NewKey("blog", ["read"]), "ann")
    postgres = Postgres(database, 1, 5)
    recorded = RecordedKeys(keyring, postgres, copy, workers=2)
    await recorded.refresh()
    assert accepts(keyring, first["key"])
    found = keyring.find(f"Bearer {first['key']}".encode(), b"")
    assert found is not None
    assert found[1].rate == 20  # each of two workers allows half
    await recorded.refresh()
    assert {row["name"]: row["last_used_at"] is not None for row in list_keys(opened)} == {"shop": True, "blog": False}
    revoke_key(opened, str(first["key_id"]), "ann")
    successor = rotate_key(opened, str(other["key_id"]), timedelta(0), "ann")
    await recorded.refresh()
    assert [accepts(keyring, made["key"]) for made in (first, other, successor)] == [False, False, True]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert str(successor["key"]) not in copy.read_text()
    await postgres.close()
    await _without_the_database(copy, str(successor["key"]), str(first["key"]))


async def _without_the_database(copy: Path, valid: str, revoked: str) -> None:
    """A server that starts while the database is away knows the keys of the copy, and keeps them."""
    keyring = Keyring()
    recorded = RecordedKeys(keyring, Away(), copy)
    recorded.read_copy()
    with pytest.raises(PostgresDownError):
        await recorded.refresh()
    assert [accepts(keyring, key) for key in (valid, revoked)] == [True, False]


async def test_a_damaged_copy_gives_no_key(tmp_path: Path) -> None:
    for content in (b"", b"[{}]", b"\xff", b'[{"key_id": 1, "secret_hash": "zz"}]', b"{}"):
        (tmp_path / "keys.json").write_bytes(content)
        keyring = Keyring()
        RecordedKeys(keyring, Away(), tmp_path / "keys.json").read_copy()
        assert keyring.find(b"Bearer x", b"") is None
    assert not Keyring().is_loaded


async def test_the_use_of_all_processes_spends_the_daily_quota_of_a_key(database: str, tmp_path: Path) -> None:
    opened, keyring, postgres = engine(database), Keyring(), Postgres(database, 1, 5)
    made = create_key(opened, NewKey("web", ["collect"]), "ann")
    recorded = RecordedKeys(keyring, postgres, tmp_path / "keys.json", quota=(100, 1000))

    async def is_spent(day: str, calls: int, size: int) -> bool:
        with opened.begin() as connection:
            values = {"key": made["key_id"], "calls": calls, "bytes": size}
            connection.execute(text("DELETE FROM key_usage"))
            connection.execute(text(f"INSERT INTO key_usage VALUES (:key, {day}, :calls, :bytes)"), values)
        await recorded.refresh()
        found = keyring.find(f"Bearer {made['key']}".encode(), b"")
        assert found is not None
        return found[0].is_spent

    today = "(now() AT TIME ZONE 'UTC')::date"
    assert [await is_spent(today, *used) for used in ((99, 999), (100, 1), (1, 1000))] == [False, True, True]
    assert not await is_spent(f"{today} - 1", 1000, 10_000)
    await postgres.close()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator["Queue[tuple[str, bytes]]"]:
    """Path and body of each request to a receiver, which the environment names."""
    requests: Queue[tuple[str, bytes]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        yield requests
        server.shutdown()


@pytest.mark.parametrize("at_once", [True, False], ids=["before each answer", "at the end"])
def test_the_receiver_gets_spans_that_name_the_template_and_no_id(
    received: "Queue[tuple[str, bytes]]", at_once: bool
) -> None:
    text, key = new_key("read")
    app = build_app(state_of([key]), traces=configured_traces(at_once=at_once))
    with TestClient(app) as client:
        answer = client.get("/v1/users/secret-77/recommendations", headers={"x-api-key": text})
        assert received.empty() is not at_once
    path, body = received.get(timeout=10)
    export = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    (span,) = export.scope_spans[0].spans
    attributes = {pair.key: pair.value for pair in span.attributes}
    assert (path, span.name) == ("/v1/traces", f"GET {ROUTE}")
    assert attributes["http.route"].string_value == ROUTE
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["tailorbird.request_id"].string_value == answer.headers["x-request-id"]
    assert "tailorbird-api" in {pair.value.string_value for pair in export.resource.attributes}
    assert b"secret-77" not in body
    assert text.encode() not in body


def test_a_missing_exporter_is_named_and_without_an_endpoint_nothing_is_traced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert configured_traces() is None
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert configured_traces() is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TailorbirdError, match=r"Install `tailorbird\[traces\]`, or unset"):
        configured_traces()
