"""The running installation: what its services know of the shell, and what other users can read of it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer

from infra.configuration.settings import Settings
from infra.prefect_api.client import login_headers
from infra.services import state_file
from infra.services.endpoints import endpoints
from infra.services.http_client import request_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Shop

PLACEMENTS = """
[evening]
k = 5
rules.pin = [{ item = "no-such-item", place = 1 }]

[alike]
subject = "item"
method = "similarity"
k = 4
"""


def environments(shop: Shop) -> dict[str, set[str]]:
    """Return the names of the variables of each service and its children."""
    variables: dict[str, set[str]] = {}
    for name, service in state_file.load(shop.var).items():
        assert service.running is not None
        first = psutil.Process(service.running.pid)
        for process in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                variables.setdefault(name, set()).update(process.environ())
    return variables


def test_no_service_knows_a_secret_of_the_shell_that_it_does_not_need(shop: Shop) -> None:
    variables = environments(shop)
    assert set(variables) == {"postgres", "prefect", "mlflow", "docs", "api", "worker", "reconciler"}
    for name, of_service in variables.items():
        assert not {"SMTP_PASSWORD", "GITHUB_TOKEN"} & of_service, name
    stores = {name for name, of_service in variables.items() if "AWS_SECRET_ACCESS_KEY" in of_service}
    assert stores == {"worker", "reconciler"}
    assert not [variable for variable in variables["postgres"] if "SECRET" in variable or "PASSWORD" in variable]


def test_nobody_else_can_read_anything_that_the_demo_left(stocked: Shop) -> None:
    opened = [
        str(path)
        for path in [stocked.var, *stocked.var.rglob("*")]
        if not path.is_symlink() and not path.is_socket() and path.stat().st_mode & 0o077
    ]
    assert opened == []
    assert (stocked.var / "lake" / "events").is_dir()
    assert list((stocked.var / "mlflow" / "artifacts").iterdir())


@pytest.fixture
def bucket(stocked: Shop) -> Iterator[dict[str, str]]:
    """Copy the shop's lake to an object store; return the variables of its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    login = {"ACCESS_KEY_ID": "somebody", "SECRET_ACCESS_KEY": "s3cret-word", "REGION": "eu-west-1"}
    where = {"ENDPOINT_URL": f"http://{host}:{port}", "ALLOW_HTTP": "true", "EC2_METADATA_DISABLED": "true"}
    client = boto3.client(
        "s3",
        endpoint_url=where["ENDPOINT_URL"],
        aws_access_key_id=login["ACCESS_KEY_ID"],
        aws_secret_access_key=login["SECRET_ACCESS_KEY"],
        region_name=login["REGION"],
    )
    client.create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": login["REGION"]})
    lake = stocked.var / "lake"
    for path in lake.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "shop", f"lake/{path.relative_to(lake)}")
    yield {f"AWS_{name}": value for name, value in (login | where).items()}
    request_json("POST", f"{where['ENDPOINT_URL']}/moto-api/reset", {})  # all servers of a process share their buckets
    server.stop()


def test_the_form_of_ingest_names_no_mapping_and_no_form_loads_the_demos_data_into_a_real_shop(shop: Shop) -> None:
    form = prefect(shop, "GET", "/deployments/name/ingest/ingest")["parameter_openapi_schema"]
    assert form["required"] == ["mapping"]
    assert "default" not in form["properties"]["mapping"]


def test_the_nightly_score_reads_a_lake_in_a_bucket_and_placements_of_the_settings_file(
    stocked: Shop, bucket: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "placements.toml").write_text(PLACEMENTS)
    file = tmp_path / "tailorbird.toml"
    file.write_text('placements = "placements.toml"\nlake = "s3://shop/lake"\nschedules.score-nightly = "0 2 * * *"\n')
    try:
        stocked.run("up", **bucket, TAILORBIRD_SETTINGS=str(file))
        scheduled = json.loads(stocked.run("schedules", "list", "--json", TAILORBIRD_SETTINGS=str(file)))
        [nightly] = [row for row in scheduled if row["slug"] == "score-nightly"]
        assert (nightly["cron"], nightly["set_by"]) == ("0 2 * * *", "tailorbird.toml:3")
        assert datetime.fromisoformat(nightly["next_run"]).hour == 2
        run = begin(stocked, "score")
        assert wait_for(stocked, run) == "COMPLETED"
        pin = "rules.pin.0.item: 'no-such-item' is not in the catalogue, or newer than the champion; the pin is ignored"
        assert logged(stocked, run, f"evening: {pin}")
        of_run = {"artifacts": {"key": {"any_": ["ignored-rules"]}, "flow_run_id": {"any_": [run]}}}
        assert "no-such-item" in str(prefect(stocked, "POST", "/artifacts/filter", of_run))
        live = "SELECT placement, k FROM placements JOIN recommendation_batches USING (batch_id, placement)"
        rows = stocked.sql(f"{live} WHERE placement IN ('evening', 'alike') ORDER BY 1")
        assert rows == [["alike", "4"], ["evening", "5"]]
    finally:
        (stocked.var / "settings-file").unlink()
        stocked.run("up")
        stocked.sql("DELETE FROM placements WHERE placement IN ('evening', 'alike')")


def prefect(shop: Shop, method: str, path: str, body: Any = None) -> Any:
    services = endpoints(Settings(var=shop.var))
    return request_json(method, services.prefect_api_url.rstrip("/") + path, login_headers(services.environment), body)


def begin(shop: Shop, name: str) -> str:
    """Start a deployment with its own parameters, as its schedule does."""
    deployment = prefect(shop, "GET", f"/deployments/name/{name}/{name}")
    return str(prefect(shop, "POST", f"/deployments/{deployment['id']}/create_flow_run", {})["id"])


def logged(shop: Shop, run: str, message: str) -> bool:
    """Return whether a run's log has a message; its last lines reach Prefect after its end."""
    chosen = {"logs": {"flow_run_id": {"any_": [run]}}}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if message in [entry["message"] for entry in prefect(shop, "POST", "/logs/filter", chosen)]:
            return True
        time.sleep(0.5)
    return False


def wait_for(shop: Shop, run: str) -> str:
    """Wait for a run and return its last state."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        kind = str(prefect(shop, "GET", f"/flow_runs/{run}")["state"]["type"])
        if kind in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            return kind
        time.sleep(0.5)
    return "late"
