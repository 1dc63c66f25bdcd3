"""Writes the deployments of one installation: those of prefect.yaml, at the times in its settings."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from infra.configuration.settings import Settings, SettingsRefusedError, source
from infra.configuration.timing import Timing
from models.primitives.json_types import JsonObject

NAME: Final = "prefect.yaml"
DEMO: Final = "demo"
"""The deployment that only an installation of the demo has."""


def write(settings: Settings, path: Path, *, demo: bool) -> Path:
    """Write the deployments to `path` in the form of prefect.yaml; return the path.

    Raises SettingsRefusedError for the time of a schedule that prefect.yaml does not name.
    """
    import yaml  # 20 ms, for an `up` that registers deployments

    content = _content(settings.home)
    if not demo:
        content["deployments"] = [entry for entry in content["deployments"] if entry["name"] != DEMO]
    check(settings)
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


def check(settings: Settings) -> None:
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
