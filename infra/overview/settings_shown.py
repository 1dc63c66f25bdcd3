"""Lists the values of all settings with their origin, and the running processes that use another value."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from infra.configuration import addresses, settings_file
from infra.configuration.settings import Settings, annotations, variable_of
from infra.configuration.settings_file import REMOVED, UNWRITABLE, VARIABLE, SettingsRefusedError, limits_of, place
from infra.configuration.value_checks import Timing
from infra.prefect_api import deployments
from infra.prefect_api.deployments import built_in
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
    if isinstance(value, dict) and "cron" in value:
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


_PREFIX: Final = "TAILORBIRD_"
_SECRET: Final = f"{_PREFIX}SECRET_"
_SECRETS: Final = tuple(
    _SECRET + name
    for name in (
        *("PSEUDONYM_KEY", "SIGNING_KEY", "MLFLOW_PAGE", "PREFECT_PAGE", "DOCS_PAGE"),
        *("DATABASE_READER", "DATABASE_SERVING", "DATABASE_INGEST", "DATABASE_OPERATOR"),
    )
)
_CONTAINERS: Final = (f"{_PREFIX}DATABASE_PASSWORD", f"{_PREFIX}POSTGRES_PASSWORD", f"{_PREFIX}SERVICE")
"""Variables of docker-compose.yml, and the mark of processes that `up` starts."""
_REMOVED: Final = frozenset(f"{_PREFIX}{name.upper()}" for name in REMOVED)
_SAME_WORD: Final = 0.85


def unknown_variables() -> list[str]:
    """Return a sentence for each variable of this shell that looks like a setting but is not one."""
    known = [VARIABLE, *map(variable_of, Settings.model_fields)]
    removed = [
        f"{name} is no setting any more, so its value has no effect. Unset it."
        for name in sorted(os.environ)
        if name.upper() in _REMOVED
    ]
    return removed + [
        f"{name} is no setting, so its value has no effect. The nearest is {nearest}. Correct the name or unset it."
        for name in sorted(os.environ)
        if name.upper().startswith(_PREFIX) and (nearest := _nearest(name.upper(), known))
    ]


def unknown_schedules(settings: Settings) -> list[str]:
    """Return a sentence for a schedule in the settings that is not built in."""
    try:
        deployments.check_schedules(settings)
    except SettingsRefusedError as error:
        return [str(error)]
    return []


def _nearest(name: str, known: list[str]) -> str | None:
    """Return the known name nearest to an unknown one; None for a known name."""
    if name in known or name in _CONTAINERS or name in _SECRETS or name in _REMOVED:
        return None
    if name.startswith(_SECRET):  # services may have further secrets
        return next(iter(get_close_matches(name, _SECRETS, n=1, cutoff=_SAME_WORD)), None)
    public = [one for one in known if one.lower().removeprefix(_PREFIX.lower()) not in UNWRITABLE]
    return get_close_matches(name, public, n=1, cutoff=0.0)[0]
