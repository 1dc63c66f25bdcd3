from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from models.primitives.json_types import JsonObject

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
        yield _await(process, f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(process: subprocess.Popen[bytes], address: str) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=2):  # noqa: S310
                return address
        except OSError:
            time.sleep(0.2)
    raise AssertionError("MLflow does not serve the champion; see what it has printed.")


def request_lists(address: str, *rows: JsonObject, code: int = 200) -> Any:
    """Return the server's response to a request with these rows."""
    body = json.dumps({"dataframe_records": rows}).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            status, response = answer.status, json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        status, response = error.code, json.load(error)
    assert status == code, response
    return response


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
    login = b64encode(f"{known['MLFLOW_TRACKING_USERNAME']}:{known['MLFLOW_TRACKING_PASSWORD']}".encode()).decode()
    url = f"{known['MLFLOW_TRACKING_URI']}/model-versions/get-artifact?path=MLmodel&name=tailorbird&version={version}"
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        text = answer.read().decode()
    assert "loader_module: serving.pyfunc" in text
    assert '"name": "exclude"' in text.replace("\n    ", " ")
