"""Prometheus reads a running API by the shipped configuration, and the shipped rules and dashboards fit its metrics."""

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from infra.installation import Installation
from infra.keys.api_keys import METRICS_KEY
from infra.keys.recorded_api_keys import NewKey, create_key
from models.primitives.json_types import JsonObject
from serving.http.metrics import REGISTRY
from tests.serving.api.server_process import installation_api
from tests.serving.bundle_folders import offer, promote, write_bundle
from tests.waiting import until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "deploy" / "monitoring"
RULES: list[JsonObject] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
PANELS: list[JsonObject] = [
    panel for file in sorted((FOLDER / "dashboards").glob("*.json")) for panel in json.loads(file.read_text())["panels"]
]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ())]
WITHOUT_DATA = {
    *("Refused requests per second", "Latency by variant of an experiment", "Events that PostgreSQL did not take"),
    *("Messages of brokers per second", "Messages that wait in the broker", "Dead letters"),
    *("Users scored again per second", "Loaded champion", "Age of the published lists"),
    "Look-ups in the cache per second",
}
"""Panels with a query that is empty where nothing is refused, and without experiments, brokers, lists and Redis."""
PROMETHEUS, PROMTOOL = shutil.which("prometheus") or "", shutil.which("promtool") or ""
needs_prometheus = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL),
    reason="Prometheus is not installed: apt-get install prometheus",
)


@needs_prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "config", "--syntax-only", "prometheus.containers.yml"],
    ],
)
def test_promtool_accepts_the_files_and_every_alert_fires_as_its_test_expects(arguments: list[str]) -> None:
    done = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_a_section_with_what_to_do() -> None:
    alerts = [str(rule["alert"]) for rule in RULES]
    cases = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    assert {case["alertname"] for test in cases for case in test["alert_rule_test"]} == set(alerts)
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert set(alerts) <= set(headings)
    runbooks = [rule["annotations"]["runbook"] for rule in RULES]
    assert runbooks == [f"docs/runbooks.md#{name.lower()}" for name in alerts]


def test_rules_and_dashboards_name_only_metrics_that_exist() -> None:
    known = {name for metric in REGISTRY.collect() for name in (metric.name, f"{metric.name}_total")}
    known |= {f"{metric.name}{end}" for metric in REGISTRY.collect() for end in ("_bucket", "_count", "_sum")}
    queries = " ".join([*(str(rule["expr"]) for rule in RULES), *(query for _, query in QUERIES)])
    assert set(re.findall(r"\btailorbird_\w+", queries)) <= known


def test_dashboards_read_the_data_source_that_the_files_create() -> None:
    [source] = yaml.safe_load((FOLDER / "datasource.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}


@needs_prometheus
def test_prometheus_counts_the_answers_of_a_running_api_and_notices_its_end(
    installation: Installation, tmp_path: Path
) -> None:
    engine = installation.engine
    key = create_key(engine, NewKey("shop", ["read", "write"]), "ann")["key"]
    digest = write_bundle(tmp_path / "bundle")
    promote(engine, tmp_path / "bundle", digest, 3)
    item = offer(engine, tmp_path / "bundle", digest)[0]
    with installation_api(2, {"TAILORBIRD_SETTINGS": "none"}, tmp_path / "log") as api:
        client = httpx.Client(base_url=api.address, headers={"authorization": f"Bearer {key}"})
        for number in range(7):
            assert client.get(f"/v1/users/{number}/recommendations?k=3").status_code == 200
        assert client.post("/v1/feedback", json={"kind": "click", "item_id": item, "user": "7"}).is_success
        with prometheus(installation, api.address, tmp_path / "prometheus") as ask:
            until(lambda: ask('up{job="tailorbird-api"} == 1'), 30, "the API is not read")
            assert value(ask("sum(tailorbird_answers_total)")) == 7
            lists = 'tailorbird_http_request_duration_seconds_count{route="/v1/users/{user}/recommendations"}'
            assert value(ask(f"sum({lists})")) == 7
            until(lambda: ask("sum(rate(tailorbird_answers_total[5m]))"), 30, "there is no second measurement")
            empty = {title for title, query in QUERIES if not ask(query)}
            assert empty <= WITHOUT_DATA
            assert [str(rule["alert"]) for rule in RULES if ask(str(rule["expr"]))] == []
            api.process.terminate()
            until(lambda: ask('ALERTS{alertname="ApiDown",alertstate="pending"}'), 30, "no alert about the end")


def value(answer: list[JsonObject]) -> float:
    [series] = answer
    return float(series["value"][1])


@contextmanager
def prometheus(installation: Installation, api: str, folder: Path) -> Iterator["Queries"]:
    """Start Prometheus as docs/runbooks.md does, with another port of the API and a measurement each second."""
    folder.mkdir()
    shutil.copy(FOLDER / "rules.yml", folder)
    shutil.copy(installation.settings.var / "secrets" / METRICS_KEY, folder)
    text = (FOLDER / "prometheus.yml").read_text().replace("127.0.0.1:8000", urlsplit(api).netloc)
    (folder / "prometheus.yml").write_text(text.replace("interval: 15s", "interval: 1s"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROMETHEUS, *options, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT
        )
    queries = Queries(address)
    try:
        until(queries.is_ready, 30, "Prometheus does not start")
        yield queries
    finally:
        process.terminate()
        process.wait(15)


class Queries:
    """Queries of a running Prometheus."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=f"http://{address}")

    def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return self._client.get("/-/ready").status_code == 200
        return False

    def __call__(self, query: str) -> list[JsonObject]:
        answer = self._client.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"]["result"])
