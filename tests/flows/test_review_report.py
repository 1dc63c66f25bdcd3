"""The demo's review leaves a card, a report, and links between the pages for the reviewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.configuration.settings import Settings
from infra.registry.client import Registry
from infra.services import endpoints
from infra.services.http_client import basic_auth, request_json

if TYPE_CHECKING:
    from conftest import Shop


@pytest.fixture
def registry(stocked: Shop, monkeypatch: pytest.MonkeyPatch) -> Registry:
    services = endpoints.endpoints(Settings(var=stocked.var))
    assert services.mlflow_login is not None
    for name, word in zip(("USERNAME", "PASSWORD"), services.mlflow_login, strict=True):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", word)
    return Registry(services.mlflow_tracking_uri)


@pytest.fixture
def version(registry: Registry) -> Any:
    return registry.version(1)


def test_a_decided_version_keeps_its_card_under_the_decision(version: Any) -> None:
    assert version.description.startswith("Version 1 was approved by demo --approve: ")
    for part in ("What it is", "Figures", "The gate", "Limits", "To decide"):
        assert version.description.count(f"\n## {part}\n") == 1
    assert f"({version.tags['report']})" in version.description


def test_the_report_is_an_artifact_of_the_run_with_real_people_on_it(
    version: Any, registry: Registry, stocked: Shop, tmp_path: Path
) -> None:
    assert version.tags["report"] == registry.artifact_page(version.run_id, "review/report.html")
    text = registry.download(version.run_id, "review/report.html", tmp_path).read_text(encoding="utf-8")
    assert "Version 1 passed the gate" in text
    shown = re.findall(r"<h3>([0-9a-f]{8}) <small>", text)
    keys = [key for (key,) in stocked.sql("SELECT user_key FROM identity.users")]
    assert len(shown) == 10
    assert all(sum(key.startswith(name) for key in keys) == 1 for name in shown)
    assert not [key for key in keys if key in text]
    assert "household-" not in text
    assert text.count("data:image/png;base64,") >= 5
    assert not re.search(r"<script|<link|@import|src=\"http", text)


def test_a_version_leads_to_its_training_its_prefect_run_and_its_datas_docs(version: Any, registry: Registry) -> None:
    run = registry.run(version.run_id)
    assert version.tags["training_run"] == registry.page(version.run_id)
    assert version.tags["prefect_run"] == run.tags["prefect_run"]
    assert version.tags["data_docs"].rstrip("/").endswith(version.tags["dataset_version"])


def test_the_prefect_run_leads_to_the_version_and_the_report(version: Any, registry: Registry, stocked: Shop) -> None:
    services = endpoints.endpoints(Settings(var=stocked.var))
    login = {"Authorization": basic_auth(str(services.prefect_login))}
    query = {"artifacts": {"key": {"like_": "%-version-1"}}}
    artifacts = request_json("POST", f"{services.prefect_api_url}/artifacts/latest/filter", login, query)
    shown = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert f"({registry.version_page(1)})" in shown["version-page-version-1"]
    assert f"({version.tags['report']})" in shown["report-version-1"]
    assert {"training-run-version-1", "data-docs-version-1"} <= set(shown)
