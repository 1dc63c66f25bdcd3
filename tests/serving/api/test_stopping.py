"""A real server that is stopped under load."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from infra.keys.api_keys import create_secret
from tests.serving.api.server_process import ServerProcess, serving

CLIENTS = 8


@pytest.mark.anyio
async def test_sigterm_under_load_loses_no_request(tmp_path: Path, anyio_backend: str) -> None:  # noqa: ARG001
    _, key = create_secret()
    variables = {"FAKE_KEY": key, "FAKE_SECONDS": "0.05"}
    more = ("--timeout-graceful-shutdown", "10")
    with serving("tests.serving.api.serve_fake:app", variables, tmp_path / "log", *more) as server:
        stopped = asyncio.Event()
        clients = [asyncio.create_task(_send(server, key, stopped)) for _ in range(CLIENTS)]
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        stopped.set()
        counts = await asyncio.gather(*clients)
        assert await asyncio.to_thread(server.process.wait, 15) == -signal.SIGTERM
    assert min(counts) > 0
    assert "Traceback" not in server.log.read_text()


async def _send(server: ServerProcess, key: str, stopped: asyncio.Event) -> int:
    """Send requests on one connection until an answer closes it, as a load balancer does; return their number."""
    answered = 0
    async with httpx.AsyncClient(base_url=server.address, headers={"x-api-key": key}) as client:
        while True:
            answer = await client.get("/v1/users/7/recommendations")
            assert answer.status_code == 200
            answered += 1
            if answer.headers.get("connection") == "close":
                assert stopped.is_set()
                return answered


@pytest.mark.faults
def test_two_workers_count_together(tmp_path: Path) -> None:
    _, key = create_secret()
    with serving("tests.serving.api.serve_fake:app", {"FAKE_KEY": key}, tmp_path / "log", "--workers", "2") as server:
        for _ in range(40):
            assert httpx.get(f"{server.address}/v1/popular", headers={"x-api-key": key}).status_code == 200
        text = httpx.get(f"{server.address}/metrics", headers={"x-api-key": key}).text
        line = next(one for one in text.splitlines() if 'seconds_count{method="GET",route="/v1/popular"' in one)
        assert float(line.rpartition(" ")[2]) == 40
