"""Real server processes: from a bundle folder, of an installation, and stopped under load."""

import asyncio
import re
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.keys import credentials
from infra.keys.api_keys import create_secret
from infra.keys.recorded_api_keys import NewKey, create_key
from serving.api.replies.document import RecommendationList
from tasks.monitoring.serving_metrics import read
from tests.serving.api.server_process import ServerProcess, installation_api, serving
from tests.serving.bundle_folders import offer, promote, write_bundle

KEY = "k" * 40
PATH = "/v1/users/7/recommendations"
FEEDBACK = b'{"kind":"click","item_id":"item-1","user":"7"}'
_LENGTH = re.compile(rb"content-length: (\d+)")


@pytest.mark.usefixtures("own_var")
def test_a_bundle_folder_is_enough(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    variables = {"TAILORBIRD_SECRET_API_KEY": KEY, "TAILORBIRD_BUNDLE": str(tmp_path / "bundle")}
    with serving("serving.api.app:standalone", variables, tmp_path / "log") as server:
        client = httpx.Client(base_url=server.address, headers={"authorization": f"Bearer {KEY}"})
        found = RecommendationList.model_validate_json(client.get("/v1/users/nobody/recommendations?k=5").content)
        assert len(found.items) == 5
        assert (found.source, found.degraded) == ("live", False)
        context = client.get(f"/v1/recommendations?k=5&context={found.items[0].item_id}")
        assert context.json()["source"] == "live"
        assert client.post("/v1/rank", json={"items": [item.item_id for item in found.items]}).status_code == 200
        refused = client.post("/v1/feedback", json={"kind": "click", "item_id": "1", "user": "7"})
        assert (refused.status_code, "stores nothing" in refused.text) == (501, True)
        assert 'tailorbird_answers_total{source="live"}' in client.get("/metrics").text
        assert httpx.get(f"{server.address}/v1/popular").status_code == 401
        upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        upgrade["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        assert client.get(f"/v1/users/secret-user-77/recommendations?key={KEY}", headers=upgrade).status_code == 403
        assert server.terminate() == -signal.SIGTERM  # uvicorn raises it again after its end
    log = server.log.read_text()
    assert "Application startup complete" in log
    assert KEY not in log
    assert "secret-user" not in log


def test_an_installation_answers_with_keys_of_its_database(installation: Installation, tmp_path: Path) -> None:
    engine, key = installation.engine, create_key(installation.engine, NewKey("shop", ["read", "write"]), "ann")
    other = create_key(engine, NewKey("till", ["write"]), "ann")
    digest = write_bundle(tmp_path / "bundle")
    promote(engine, tmp_path / "bundle", digest, 3)
    offer(engine, tmp_path / "bundle", digest)
    variables = {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_API_PAGE_CALLS": "5"}
    with installation_api(2, variables, tmp_path / "log") as server:
        client = httpx.Client(base_url=server.address, headers={"authorization": f"Bearer {key['key']}"})
        found = RecommendationList.model_validate_json(client.get("/v1/users/nobody/recommendations?k=5").content)
        assert (len(found.items), found.model_version) == (5, 3)
        body = {"kind": "click", "item_id": found.items[0].item_id, "user": "7", "recommendation_id": "0f8f"}
        assert client.post("/v1/feedback", json=body).json()["status"] == "stored"
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT kind, payload FROM event_inbox WHERE kind = 'event'")).all()
        assert [row.payload["item_id"] for row in rows] == [body["item_id"]]
        unknown = client.post("/v1/feedback", json={**body, "item_id": "nothing"})
        assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:tailorbird:problem:unknown-item")
        assert client.put("/v1/items/nothing", json={"title": "New"}).status_code == 202
        assert client.post("/v1/feedback", json={**body, "item_id": "nothing"}).status_code == 202
        _knows_a_key_from_its_first_moment(server, installation)
        _keeps_new_visitors_out_when_a_page_key_is_spent(server, installation)
        metrics = client.get("/metrics").text
        assert 'tailorbird_model_info{digest="' in metrics
        assert 'version="3"} 1.0' in metrics
        assert read(installation.settings, f"{server.address}/metrics")[0].count >= 2  # by the key of the host
        _replaces_a_worker_that_dies(server)
        _spreads_connections_evenly(server)
        _takes_no_connection_while_a_request_is_in_flight(server, str(other["key"]), found.items[0].item_id)
        assert server.process.wait(20) == 0
    log = server.log.read_text()
    assert str(key["key"]) not in log
    assert "Traceback" not in log


def _knows_a_key_from_its_first_moment(server: ServerProcess, here: Installation) -> None:
    """Ask with new keys at once: a second later every worker would know them anyway."""
    for _ in range(10):
        key = create_key(here.engine, NewKey("till", ["read"]), "ann")
        assert httpx.get(f"{server.address}/v1/popular?k=1", headers={"x-api-key": str(key["key"])}).status_code == 200


def _keeps_new_visitors_out_when_a_page_key_is_spent(server: ServerProcess, here: Installation) -> None:
    key = create_key(here.engine, NewKey("web", ["collect"]), "ann")
    device = credentials.hashed("known", credentials.keys(here.key.decode()), credentials.DEVICE)
    names, values = "anonymous_key, user_key, batch_id, occurred_at", f"'{device}', 'u', '', '2026-01-01'"
    row = f"INSERT INTO aliases ({names}) VALUES ({values})"
    with here.engine.begin() as connection:
        connection.execute(text(row))

    def status(visitor: str) -> int:
        call = {"event": "Product Clicked", "anonymousId": visitor, "properties": {"product_id": "1"}}
        return httpx.post(f"{server.address}/v1/t", json=call | {"writeKey": key["key"]}).status_code  # any worker

    assert status("new") == 200
    for _ in range(5):
        assert status("known") == 200
    time.sleep(1.5)
    assert {status("new") for _ in range(8)} == {429}
    assert {status("known") for _ in range(8)} == {200}


def _replaces_a_worker_that_dies(server: ServerProcess) -> None:
    parent = psutil.Process(server.process.pid)
    before = parent.children()
    assert [worker.cmdline() for worker in before] == [parent.cmdline()] * 2  # they are copies of the first process
    before[0].kill()
    began = time.monotonic()
    while len(parent.children()) < 2 or before[0] in parent.children():
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    assert httpx.get(f"{server.address}/readyz").status_code == 200


def _spreads_connections_evenly(server: ServerProcess) -> None:
    place, began = ("127.0.0.1", int(server.address.rpartition(":")[2])), time.monotonic()
    numbers = [0, 20]
    while max(numbers) - min(numbers) > 2:  # a new worker may still start
        assert time.monotonic() - began < 10, numbers
        with ExitStack() as opened:
            for _ in range(20):
                opened.enter_context(socket.create_connection(place, timeout=20))
            while sum(numbers := _open_connections(server, place[1])) < 20:
                assert time.monotonic() - began < 10, numbers


def _open_connections(server: ServerProcess, port: int) -> list[int]:
    workers = psutil.Process(server.process.pid).children()
    listed = [worker.net_connections("tcp") for worker in workers]
    return [sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in own) for own in listed]


def _takes_no_connection_while_a_request_is_in_flight(server: ServerProcess, key: str, item: str) -> None:
    place = "127.0.0.1", int(server.address.rpartition(":")[2])
    body = b'{"kind":"click","item_id":"%b","user":"7"}' % item.encode()
    head = f"POST /v1/feedback HTTP/1.1\r\nhost: shop\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n"
    with socket.create_connection(place, timeout=20) as client:
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:9])
        _wait_until_accepted(server, client)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionRefusedError):
            _connect_again_and_again(place)
        assert server.process.poll() is None
        client.sendall(body[9:])
        assert client.recv(65_536).startswith(b"HTTP/1.1 202 ")


def _wait_until_accepted(server: ServerProcess, client: socket.socket) -> None:
    """Wait for a worker to take the connection: the system resets those that nobody has accepted at the end."""
    began, number = time.monotonic(), client.getsockname()[1]
    while True:
        workers = psutil.Process(server.process.pid).children()
        if any(one.raddr and one.raddr.port == number for worker in workers for one in worker.net_connections("tcp")):
            return
        assert time.monotonic() - began < 10


def _connect_again_and_again(place: tuple[str, int]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 8:
        socket.create_connection(place, timeout=20).close()
        time.sleep(0.05)


@dataclass
class Clients:
    """Clients of one server, with what they received."""

    address: str
    key: str
    answers: Counter[str] = field(default_factory=Counter)
    """By the kind of client."""
    asked_to_close: Counter[str] = field(default_factory=Counter)
    """The answers among them that end their connection."""
    statuses: set[int] = field(default_factory=set)

    async def pool(self) -> None:
        """Use a pool of connections, as an application does; go on with new ones until they are refused."""
        async with httpx.AsyncClient(base_url=self.address, headers={"x-api-key": self.key}) as client:

            async def send() -> None:
                while True:
                    try:
                        answer = await client.get(PATH)
                    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
                        return  # the caller compares the answers with the requests that the server began
                    self._count("pool", answer.status_code, closes=answer.headers.get("connection") == "close")

            await asyncio.gather(*(send() for _ in range(4)))

    async def serial(self) -> None:
        """Send the next request on the same connection after each answer, whatever the answer asks for."""
        reader, writer = await self._connect()
        while True:
            writer.write(self._get())
            if not await self._answered("serial", reader):
                writer.close()
                return

    async def pipelined(self) -> None:
        """Keep twenty requests on the way."""
        reader, writer = await self._connect()
        writer.write(self._get() * 20)
        while await self._answered("pipelined", reader):
            writer.write(self._get())
        writer.close()

    async def slow_body(self, go_on: asyncio.Event) -> None:
        """Send one body in two parts."""
        reader, writer = await self._connect()
        more = f"content-type: application/json\r\ncontent-length: {len(FEEDBACK)}\r\n"
        writer.write(self._head("POST", "/v1/feedback", more) + FEEDBACK[:10])
        await go_on.wait()
        writer.write(FEEDBACK[10:])
        assert await self._answered("slow body", reader)
        assert not await self._answered("slow body", reader)
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = urlsplit(self.address)
        return await asyncio.open_connection(place.hostname, place.port)

    def _get(self) -> bytes:
        return self._head("GET", PATH, "")

    def _head(self, method: str, path: str, more: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nhost: shop\r\nx-api-key: {self.key}\r\n{more}\r\n".encode()

    async def _answered(self, kind: str, reader: asyncio.StreamReader) -> bool:
        """Read one answer; False at the end of the stream. A reset and a cut answer are errors."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        length = _LENGTH.search(head)
        assert length is not None
        await reader.readexactly(int(length[1]))
        self._count(kind, int(head.split(b" ", 2)[1]), closes=b"connection: close" in head)
        return True

    def _count(self, kind: str, status: int, *, closes: bool) -> None:
        self.answers[kind] += 1
        self.asked_to_close[kind] += closes
        self.statuses.add(status)


@pytest.mark.anyio
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.faults)])
async def test_sigterm_under_load_loses_no_request_that_was_read(
    tmp_path: Path,
    anyio_backend: str,  # noqa: ARG001
    workers: int,
) -> None:
    _, key = create_secret()
    variables = {"FAKE_KEY": key, "FAKE_SECONDS": "0.02"}
    more = ("--timeout-graceful-shutdown", "10", *(("--workers", "2") if workers > 1 else ()))
    with serving("tests.serving.api.serve_fake:app", variables, tmp_path / "log", *more) as server:
        clients, go_on = Clients(server.address, key), asyncio.Event()
        kinds = [clients.pool(), clients.serial(), clients.serial(), clients.pipelined(), clients.pipelined()]
        running = [asyncio.create_task(one) for one in (*kinds, clients.slow_body(go_on))]
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(1.3)  # by now the server takes no connection any more
        go_on.set()
        await asyncio.gather(*running)
        assert await asyncio.to_thread(server.process.wait, 15) == (0 if workers > 1 else -signal.SIGTERM)
    log = server.log.read_text()
    assert "Traceback" not in log
    began = re.findall(r"began (\d+) lists and (\d+) messages", log)
    assert len(began) == workers
    lists, messages = (sum(map(int, counts)) for counts in zip(*began, strict=True))
    answers = clients.answers
    assert (answers.total() - answers["slow body"], answers["slow body"]) == (lists, messages)
    assert clients.statuses == {200, 202}
    # The clients on one connection learn it from their last answer; a pipeline has later requests that were read.
    asked = {kind: count for kind, count in clients.asked_to_close.items() if kind != "pool"}
    assert asked == {"serial": 2, "pipelined": 2, "slow body": 1}
    assert min(answers.values()) >= 1
