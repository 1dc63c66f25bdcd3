from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from models.primitives.json_types import JsonObject
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Shop

CHAMPION = "models:/tailorbird@champion"


def environment(shop: Shop) -> dict[str, str]:
    """Return the environment of a client of the installation's MLflow: its address, the login, and the keys."""
    return shop.environment | shop.services.environment | {"TAILORBIRD_VAR": str(shop.var)}


@pytest.fixture(scope="module")
def address(stocked: Shop) -> Iterator[str]:
    """Start MLflow's own server of the verified champion."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = stocked.run("verify", CHAMPION).strip()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "--env-manager", "local"]
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        env=environment(stocked) | path,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: answers(process, address), 120, "MLflow does not serve the champion")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(process: subprocess.Popen[bytes], address: str) -> bool:
    assert process.poll() is None, "MLflow has ended; see what it has printed"
    with suppress(httpx.TransportError):
        return httpx.get(f"{address}/ping", timeout=2).is_success
    return False


def request_lists(address: str, *rows: JsonObject, code: int = 200) -> Any:
    """Return the server's response to a request with these rows."""
    answer = httpx.post(f"{address}/invocations", json={"dataframe_records": rows}, timeout=60)
    assert answer.status_code == code, answer.text
    return answer.json()["predictions"] if code == 200 else answer.json()


def test_mlflow_serves_the_list_that_is_published(stocked: Shop, address: str) -> None:
    expected = stocked.json("recommend", "household-0001")
    rows = request_lists(address, {"user": "household-0001"})
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in expected]
    assert [row["reason"] for row in rows] == [row["reason"] for row in expected]
    assert [row["rank"] for row in rows] == list(range(1, 21))
    assert {(row["user"], row["placement"]) for row in rows} == {("household-0001", "home")}
    key = stocked.sql("SELECT user_key FROM recommendations_by_user_id WHERE user_id = 'household-0001' LIMIT 1")[0][0]
    assert [row["item_id"] for row in request_lists(address, {"user": key})] == [row["item_id"] for row in expected]


def test_somebody_never_seen_is_answered_and_nonsense_is_refused_in_words(address: str) -> None:
    assert len(request_lists(address, {"user": "never seen"})) == 20
    assert "at least 1; it is 0" in json.dumps(request_lists(address, {"user": "household-0001", "k": 0}, code=400))
    assert "user" in json.dumps(request_lists(address, {"k": 3}, code=400))


def test_the_page_of_the_version_can_read_the_schema(stocked: Shop) -> None:
    known = environment(stocked)
    version = stocked.json("status")["champion"]["version"]
    login = (known["MLFLOW_TRACKING_USERNAME"], known["MLFLOW_TRACKING_PASSWORD"])
    url = f"{known['MLFLOW_TRACKING_URI']}/model-versions/get-artifact?path=MLmodel&name=tailorbird&version={version}"
    text = httpx.get(url, auth=login, timeout=20).text
    assert "loader_module: serving.pyfunc" in text
    assert '"name": "exclude"' in text.replace("\n    ", " ")
