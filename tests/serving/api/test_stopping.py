"""A real server that is stopped under load."""

import asyncio
import re
import signal
from pathlib import Path

import pytest

from infra.keys.api_keys import create_secret
from tests.serving.api.server_process import serving
from tests.serving.api.stubborn_clients import Clients


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
