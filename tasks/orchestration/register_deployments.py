"""Registers the deployments of a file in the form of prefect.yaml: `python -m … <file>`, in the folder of the flows.

`prefect deploy --all` does the same with twice the requests. Files with anything that is unknown here are left to it.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any, Final

import yaml
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import get_current_settings

from models.primitives.json_types import JsonObject

_FILE: Final = {"pull", "definitions", "deployments"}
_DEPLOYMENT: Final = {"name", "entrypoint", "work_pool", "concurrency_limit", "schedules"}
_SCHEDULE: Final = {"slug", "cron", "timezone", "active"}


class _Steps:
    """The steps by which a worker finds the flows, in the form of a storage of Prefect."""

    pull_interval = None

    def __init__(self, steps: list[JsonObject]) -> None:
        self.destination = Path.cwd()
        self._steps = steps

    def set_base_path(self, path: Path) -> None:
        self.destination = path

    async def pull_code(self) -> None:
        return None

    def to_pull_step(self) -> list[JsonObject]:
        return self._steps

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Steps) and self._steps == other._steps

    __hash__ = None  # type: ignore[assignment]


def main(file: Path) -> None:
    """Register all deployments of a file; print the page of each."""
    gc.disable()  # the process ends in seconds, and most of its work is imports, which leave little garbage
    content = yaml.safe_load(file.read_text())
    if not _is_known(content):
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        os.execv(sys.executable, command)  # noqa: S606
    for entry in content["deployments"]:
        identity = _register(entry, content["pull"])
        print(f"{entry['name']}: {get_current_settings().ui_url}/deployments/deployment/{identity}", flush=True)


def _is_known(content: JsonObject) -> bool:
    """Return whether a file contains nothing that is unknown here, and no value is a template."""
    entries = content["deployments"]
    known = set(content) <= _FILE and bool(content.get("pull")) and "{{" not in str(entries)
    return known and all(map(_is_known_deployment, entries))


def _is_known_deployment(entry: JsonObject) -> bool:
    limit, schedules = entry.get("concurrency_limit"), entry.get("schedules") or []
    return (
        set(entry) <= _DEPLOYMENT
        and set(entry["work_pool"]) == {"name"}
        and (limit is None or (isinstance(limit, dict) and set(limit) == {"limit", "collision_strategy"}))
        and all("cron" in schedule and set(schedule) <= _SCHEDULE for schedule in schedules)
    )


def _register(entry: JsonObject, steps: list[JsonObject]) -> Any:
    """Create or update a deployment with its flow's description and form; return its id."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    limit = entry.get("concurrency_limit")
    deployment = RunnerDeployment(
        name=entry["name"],
        flow_name=flow.name,
        entrypoint=entry["entrypoint"],
        work_pool_name=entry["work_pool"]["name"],
        storage=_Steps(steps),
        concurrency_limit=limit and limit["limit"],
        concurrency_options=limit and ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
        # An update changes only what is given.
        description=None,
        version=None,
        tags=[],
        paused=None,
        parameters={},
        job_variables={},
    )
    deployment._set_defaults_from_flow(flow)
    schedules = entry.get("schedules")
    return deployment.apply(schedules=schedules and [_schedule(given) for given in schedules])


def _schedule(given: JsonObject) -> JsonObject:
    timing = CronSchedule(cron=given["cron"], timezone=given.get("timezone"))
    return {"schedule": timing} | {name: given[name] for name in ("slug", "active") if name in given}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
