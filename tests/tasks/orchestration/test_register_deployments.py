"""The deployments of prefect.yaml are registered here; a file with anything else is left to `prefect deploy`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.primitives.json_types import JsonObject
from tasks.orchestration import register_deployments

ROOT = Path(__file__).resolve().parents[3]


class LeftToPrefect(Exception):  # noqa: N818
    """Prefect's own program takes the place of ours."""


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of registered deployments."""
    names: list[str] = []

    def register(entry: JsonObject, _steps: list[JsonObject]) -> str:
        names.append(entry["name"])
        return "an-id"

    def replace(_program: str, command: list[str]) -> None:
        raise LeftToPrefect(command)

    monkeypatch.setattr(register_deployments, "_register", register)
    monkeypatch.setattr(os, "execv", replace)
    return names


@pytest.fixture
def content() -> JsonObject:
    found: JsonObject = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return found


def test_every_deployment_of_prefect_yaml_is_registered(
    registered: list[str], content: JsonObject, capsys: pytest.CaptureFixture[str]
) -> None:
    register_deployments.main(ROOT / "prefect.yaml")
    assert registered == [entry["name"] for entry in content["deployments"]]
    assert capsys.readouterr().out.count("/deployments/deployment/an-id") == len(registered)


CHANGES: dict[str, Callable[[JsonObject], Any]] = {
    "a step of a build": lambda content: content.update(build=[]),
    "no step that finds the flows": lambda content: content.pop("pull"),
    "tags": lambda content: content["deployments"][0].update(tags=["mine"]),
    "a queue": lambda content: content["deployments"][0]["work_pool"].update(work_queue_name="slow"),
    "a bare limit": lambda content: content["deployments"][0].update(concurrency_limit=2),
    "an interval": lambda content: content["deployments"][0].update(schedules=[{"interval": 60}]),
    "parameters of a schedule": lambda content: content["deployments"][0].update(
        schedules=[{"cron": "0 1 * * *", "parameters": {"placement": "home"}}]
    ),
    "a template": lambda content: content["deployments"][0].update(name="{{ $NAME }}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_with_anything_else_is_left_to_prefect(
    registered: list[str], content: JsonObject, change: Callable[[JsonObject], Any], tmp_path: Path
) -> None:
    change(content)
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(LeftToPrefect) as left:
        register_deployments.main(path)
    assert left.value.args == (
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path)],
    )
    assert registered == []
