"""Lists the values of all settings with their origin, and the running processes that use another value."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.configuration import addresses, settings_file
from infra.configuration.keys import UNWRITABLE, limits_of
from infra.configuration.settings import Settings, annotations, variable_of
from infra.configuration.settings_file import place
from infra.configuration.timing import Timing
from infra.prefect_api.deployment_file import built_in
from infra.services import environment, settings_in_use, state_file
from infra.services.endpoints import elsewhere
from infra.services.state_file import Service

_SERVERS: Final = ("prefect", "mlflow", "docs", "api")


@dataclass(frozen=True)
class Row:
    """One setting. `running` holds other values that processes use, by the name of the process."""

    key: str
    variable: str
    value: str
    origin: str
    running: dict[str, str] = field(default_factory=dict)


def rows(settings: Settings) -> list[Row]:
    """Return every setting without secrets; each limit and each schedule has its own row."""
    services = state_file.load(settings.var)
    settings, usual = elsewhere(settings, services), built_in(settings.home)
    others = {name: _flat(values, usual) for name, values in _in_processes(settings, services).items()}
    now = _flat(settings_in_use.described(settings), usual) if others else {}
    result = []
    for key, value in _flat(_readable(settings), usual).items():
        name = key.partition(".")[0]
        running = {
            process: settings_in_use.readable(values.get(key, ""))
            for process, values in others.items()
            if values.get(key, "") != now.get(key, "")
        }
        running |= _other_port(settings, name, services)
        result.append(Row(key, variable_of(name), value, _origin(settings, key), running))
    return result


def outdated(settings: Settings) -> dict[str, list[str]]:
    """Return the keys of settings for which running processes use another value, by process."""
    result: dict[str, list[str]] = {}
    for row in rows(settings):
        for process in row.running:
            result.setdefault(process, []).append(row.key)
    return result


def _readable(settings: Settings) -> dict[str, str]:
    values, hidden = environment.of_settings(settings), environment.secret_settings()
    return {name: "(hidden)" if name in hidden else addresses.redact(value) for name, value in values.items()}


def _in_processes(settings: Settings, services: Mapping[str, Service]) -> dict[str, dict[str, str]]:
    """Return the settings of running processes.

    The reconciler and the API keep their own; runs of the worker read the file again.
    """
    result = {}
    worker, reconciler = services.get("worker"), services.get("reconciler")
    if worker is not None and worker.alive and worker.settings:
        file_name = worker.settings.get(settings_file.VARIABLE, settings_file.NO_FILE)
        path = Path(file_name) if file_name != settings_file.NO_FILE and Path(file_name).is_file() else None
        read = settings.model_copy(update={"settings_file": path})
        result["worker"] = settings_in_use.with_overrides(read, worker.settings)
    if reconciler is not None and reconciler.alive and reconciler.settings:
        result["reconciler"] = reconciler.settings
    api = services.get("api")
    if api is not None and api.alive and api.settings:
        unread = {
            variable: value
            for variable, value in settings_in_use.described(settings).items()
            if variable not in settings_in_use.API_SETTINGS
        }
        result["api"] = unread | dict(api.settings)
    return result


def _other_port(settings: Settings, name: str, services: Mapping[str, Service]) -> dict[str, str]:
    server = name.removesuffix("_port")
    if server not in _SERVERS or not name.endswith("_port"):
        return {}
    required, known = getattr(settings, name), services.get(server)
    differs = known is not None and known.alive and required is not None and known.port != required
    return {server: str(known.port)} if known is not None and differs else {}


def _flat(values: Mapping[str, str], usual: Mapping[str, Timing]) -> dict[str, str]:
    """Return values by key, with one key per limit and schedule."""
    result: dict[str, str] = {}
    schedules = {slug: asdict(timing) for slug, timing in usual.items()}
    for name, annotation in annotations().items():
        value = values.get(variable_of(name), "")
        if name == "schedules" or limits_of(annotation):
            inner = (schedules if name == "schedules" else {}) | json.loads(value or "{}")
            result |= {f"{name}.{key}": _text(part) for key, part in inner.items()}
        elif name not in UNWRITABLE:
            result[name] = value
    return result


def _text(value: object) -> str:
    if isinstance(value, dict):
        return f"{value['cron']} {value['zone']}"
    return value if isinstance(value, str) else json.dumps(value)


def _origin(settings: Settings, key: str) -> str:
    """Return the variable or the line of the file that sets a value, or `default`."""
    name, _, inner = key.partition(".")
    variable, path = variable_of(name), settings.settings_file
    if written := os.environ.get(variable):
        return variable if not inner or inner in json.loads(written) else "default"
    if path is None:
        return "default"
    content: Any = settings_file.read(path).get(name, "")
    given = inner in content if inner else content != ""
    return place(path, key) if given else "default"
