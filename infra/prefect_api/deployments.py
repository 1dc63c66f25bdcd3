"""Registers the deployments of prefect.yaml, at the times in the settings, with Prefect, and starts deployments."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from infra.configuration.settings import Settings, source
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.value_checks import Timing
from infra.prefect_api.client import PrefectClient
from infra.services.endpoints import Endpoints
from infra.services.processes import tail
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

NAME: Final = "prefect.yaml"
DEMO: Final = "demo"
"""The deployment that only an installation of the demo has."""
POOL: Final = "tailorbird"
"""The work pool of all deployments."""
_VARIABLE: Final = "tailorbird_deployed"
"""The Prefect variable that holds the fingerprint of the registered deployments."""


def write_file(settings: Settings, path: Path, *, demo: bool) -> Path:
    """Write the deployments to `path` in the form of prefect.yaml; return the path.

    Raises SettingsRefusedError for the time of a schedule that prefect.yaml does not name.
    """
    import yaml  # 20 ms, for an `up` that registers deployments

    content = _content(settings.home)
    if not demo:
        content["deployments"] = [entry for entry in content["deployments"] if entry["name"] != DEMO]
    check_schedules(settings)
    for entry in _schedules(content):
        timing = settings.schedules.get(entry["slug"])
        if timing is not None:
            entry |= {"cron": timing.cron, "timezone": timing.zone}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def built_in(home: Path) -> dict[str, Timing]:
    """Return the times of the schedules in prefect.yaml, by slug; empty without that file."""
    if not (home / NAME).is_file():
        return {}
    return {entry["slug"]: Timing(entry["cron"], entry["timezone"]) for entry in _schedules(_content(home))}


def check_schedules(settings: Settings) -> None:
    """Raise SettingsRefusedError with the nearest slug if the settings name a schedule that is not built in."""
    if not settings.schedules:
        return
    known = built_in(settings.home)
    for slug in settings.schedules:
        if slug not in known:
            nearest = get_close_matches(slug, known, n=1, cutoff=0.0)
            raise SettingsRefusedError(
                f"{source('schedules')}: there is no built-in schedule {slug!r}; the nearest is {nearest[0]!r}. "
                "Correct it or remove it."
                if nearest
                else f"{source('schedules')}: {settings.home} has no {NAME} that names schedules."
            )


def _content(home: Path) -> JsonObject:
    import yaml

    content: JsonObject = yaml.safe_load((home / NAME).read_text())
    return content


def _schedules(content: JsonObject) -> Iterator[JsonObject]:
    for deployment in content["deployments"]:
        yield from deployment.get("schedules", ())


def ensure_pool(client: PrefectClient) -> None:
    """Create the work pool, which deployments need. The worker fills in its job template."""
    if client.get(f"/work_pools/{POOL}") is None:
        description = "Flow runs on this machine, started by `tailorbird up`."
        client.post("/work_pools/", {"name": POOL, "type": "process", "description": description})


def start_deploy(
    client: PrefectClient, environment: Mapping[str, str], settings: Settings, log: Path, *, demo: bool
) -> "subprocess.Popen[bytes] | None":
    """Start the registration, or return None when the server already has exactly this state of the flows.

    The process gets the variables of `environment` and no others. With `demo` it also registers the demo's deployment.
    """
    home = settings.home
    stored = client.get(f"/variables/name/{_VARIABLE}")
    if stored is not None and stored["value"] == fingerprint(settings, demo=demo):
        return None
    if not (home / "prefect.yaml").is_file():
        raise TailorbirdError(
            f"There is no prefect.yaml in {home}. Run this in a clone, or set TAILORBIRD_HOME to one."
        )
    # Without the variable Prefect keeps the template, and each worker fills in its own folder.
    variables = {name: value for name, value in environment.items() if name != "TAILORBIRD_HOME"}
    log.parent.mkdir(parents=True, exist_ok=True)
    file = write_file(settings, settings.var / "prefect" / "deployments.yaml", demo=demo)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def finish_deploy(
    deploy: "subprocess.Popen[bytes]", client: PrefectClient, settings: Settings, log: Path, *, demo: bool
) -> None:
    """Wait for the registration, then store the fingerprint of its deployments on the server.

    A server with an empty database has no fingerprint, so the next `up` registers everything again.
    """
    if deploy.wait(timeout=300) != 0:
        raise TailorbirdError(f"Prefect does not have the flows of prefect.yaml. The end of {log}:\n{tail(log)}")
    if not demo:
        _remove(client, DEMO)
    value = {"value": fingerprint(settings, demo=demo)}
    if not client.patch(f"/variables/name/{_VARIABLE}", value):
        client.post("/variables/", {"name": _VARIABLE, **value})


def start_run(endpoints: Endpoints, name: str, key: str, parameters: Mapping[str, Any]) -> bool:
    """Start a deployment once per idempotency key; return False if a run has this key or nothing was deployed yet."""
    client = PrefectClient.of(endpoints)
    deployment = client.get(f"/deployments/name/{name}/{name}")
    if deployment is None:
        return False
    query = {"deployment_id": {"any_": [deployment["id"]]}, "idempotency_key": {"any_": [key]}}
    if client.count("/flow_runs", {"flow_runs": query}):
        return False
    body = {"idempotency_key": key, "parameters": dict(parameters)}
    client.post(f"/deployments/{deployment['id']}/create_flow_run", body)
    return True


def fingerprint(settings: Settings, *, demo: bool) -> str:
    """Return a digest of prefect.yaml, of the schedules in the settings, and of the flows, which define the forms."""
    home = settings.home
    digest = hashlib.sha256(f"{sorted(settings.schedules.items())} {demo}\0".encode())
    for path in [home / "prefect.yaml", *sorted((home / "flows").glob("*.py"))]:
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _remove(client: PrefectClient, name: str) -> None:
    """Delete a deployment that an earlier version registered in every installation."""
    if deployment := client.get(f"/deployments/name/{name}/{name}"):
        client.delete(f"/deployments/{deployment['id']}")
