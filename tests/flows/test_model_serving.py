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

import mlflow
import pandas as pd
import pytest

from infra.configuration.settings import Settings
from infra.registry.verified_models import verified_copy
from infra.services.endpoints import endpoints
from models.primitives.json_types import JsonObject

if TYPE_CHECKING:
    from conftest import Shop

CHAMPION = "models:/tailorbird@champion"


def environment(shop: Shop) -> dict[str, str]:
    """Return the environment of a client of the installation's MLflow: its address, the login, and the keys."""
    return shop.environment | endpoints(Settings(var=shop.var)).environment | {"TAILORBIRD_VAR": str(shop.var)}


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


def published(shop: Shop, user: str) -> list[str]:
    return [row["item_id"] for row in shop.json("recommend", user)]


def test_mlflow_serves_the_list_that_is_published(stocked: Shop, address: str) -> None:
    expected = stocked.json("recommend", "household-0001")
    rows = request_lists(address, {"user": "household-0001"})
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in expected]
    assert [row["reason"] for row in rows] == [row["reason"] for row in expected]
    assert [row["rank"] for row in rows] == list(range(1, 21))
    assert {(row["user"], row["placement"]) for row in rows} == {("household-0001", "home")}
    key = stocked.sql("SELECT user_key FROM recommendations_by_user_id WHERE user_id = 'household-0001' LIMIT 1")[0][0]
    assert [row["item_id"] for row in request_lists(address, {"user": key})] == [row["item_id"] for row in expected]


def test_several_users_get_a_list_each_from_one_request(stocked: Shop, address: str) -> None:
    one, two = published(stocked, "household-0001"), published(stocked, "household-0002")
    question = [
        {"user": "household-0001", "k": 3, "placement": "home", "exclude": [one[0]]},
        {"user": "household-0002", "k": 5, "placement": "basket", "exclude": []},
    ]
    rows = request_lists(address, *question)
    assert [row["item_id"] for row in rows] == [*one[1:4], *two[:5]]
    assert [row["placement"] for row in rows] == ["home"] * 3 + ["basket"] * 5


def test_somebody_never_seen_is_answered_and_nonsense_is_refused_in_words(address: str) -> None:
    assert len(request_lists(address, {"user": "never seen"})) == 20
    assert "at least 1; it is 0" in json.dumps(request_lists(address, {"user": "household-0001", "k": 0}, code=400))
    assert "user" in json.dumps(request_lists(address, {"k": 3}, code=400))


@pytest.mark.usefixtures("live")
def test_the_registered_version_has_a_schema_and_is_loaded_by_mlflow(stocked: Shop) -> None:
    expected = published(stocked, "household-0003")
    version = stocked.json("status")["champion"]["version"]
    model = mlflow.pyfunc.load_model(str(verified_copy(f"models:/tailorbird/{version}")))
    question = pd.DataFrame({"user": ["household-0003"], "k": [7], "exclude": [expected[:2]]})
    rows = model.predict(question)
    assert list(rows["item_id"]) == expected[2:9]
    inputs, outputs = model.metadata.get_input_schema(), model.metadata.get_output_schema()
    assert {column["name"]: column["required"] for column in inputs.to_dict()} == {
        "user": True,
        "k": False,
        "placement": False,
        "exclude": False,
    }
    assert [column["name"] for column in outputs.to_dict()] == list(rows.columns)


def test_the_promoted_bundle_is_verified_and_its_folder_named_for_serving(stocked: Shop) -> None:
    folder = Path(stocked.run("verify").strip())
    assert folder.parent == stocked.var / "bundles"
    (folder / "strange").touch()
    assert "does not list: strange" in stocked.run("verify", code=1)
    (folder / "strange").unlink()


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
