"""Clients that send no request, or a head without end, and the metrics of several workers."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.http import bounded_http, bounded_httptools
from serving.http.bounded_httptools import LARGEST_HEAD, BoundedHttpToolsProtocol

pytestmark = pytest.mark.anyio
LOADED = """
import sys
from serving.http import metrics

for version in sys.argv[1:]:
    metrics.show_model(version, f"digest-{version}")
print(*(line for line in metrics.exposition().decode().splitlines() if line.startswith("tailorbird_model_info{")))
"""


async def _app(scope: Any, _: Any, send: Any) -> None:
    status = 414 if len(scope["query_string"]) > 32_768 else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connected(
    protocol: type[asyncio.Protocol] = BoundedHttpToolsProtocol,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = Config(_app, access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, ServerState(), {}), "127.0.0.1", 0)  # type: ignore[call-arg]
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


@pytest.mark.parametrize(
    ("start", "status"),
    [(b"GET /", 414), (b"GET / HTTP/1.1\r\nx-more: ", 431), (b"GET / HTTP/1.1\r\nx: y\r\nz: ", 431)],
)
async def test_a_head_without_end_is_refused_and_cut(start: bytes, status: int) -> None:
    async with connected() as (reader, writer):
        writer.write(start)
        for _ in range(200):
            with suppress(ConnectionError):
                writer.write(b"y" * (LARGEST_HEAD // 4))
                await writer.drain()
            await asyncio.sleep(0)
        head, _, detail = (await reader.read()).partition(b"\r\n\r\n")
        assert (head.split()[1], b"connection: close" in head, bool(detail)) == (b"%d" % status, True, True)


@pytest.mark.parametrize("size", [65_000, 65_536, 70_000, 1_000_000])
async def test_the_application_or_the_protocol_answers_for_any_long_address(size: int) -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET /?" + b"y" * size + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).split()[1] == b"414"


async def test_requests_with_usual_heads_share_a_connection() -> None:
    async with connected() as (reader, writer):
        for _ in range(20):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-more: " + b"y" * (LARGEST_HEAD // 4) + b"\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("module", [bounded_httptools, bounded_http])
async def test_a_connection_without_a_request_is_closed(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.01)
    protocol = module.BoundedProtocol if module is bounded_http else BoundedHttpToolsProtocol
    async with connected(protocol) as (reader, _):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


def shown_after(*versions: str, folder: Path | None = None) -> str:
    """What is shown after a process has loaded champions."""
    variables = {"PYTHONPATH": str(Path(__file__).parents[2])}
    if folder is not None:
        variables["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    done = subprocess.run([sys.executable, "-c", LOADED, *versions], capture_output=True, env=variables, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("shares", [False, True])
def test_only_the_loaded_champion_is_shown(tmp_path: Path, shares: bool) -> None:
    folder = tmp_path if shares else None
    assert shown_after("1", "2", folder=folder) == 'tailorbird_model_info{digest="digest-2",version="2"} 1.0'
    # The worker in place of one that has died.
    assert shown_after("3", folder=folder) == 'tailorbird_model_info{digest="digest-3",version="3"} 1.0'


def test_a_worker_that_has_written_nothing_yet_stops_no_metrics(tmp_path: Path) -> None:
    (tmp_path / "gauge_mostrecent_1.db").touch()
    assert shown_after("1", folder=tmp_path) == 'tailorbird_model_info{digest="digest-1",version="1"} 1.0'
