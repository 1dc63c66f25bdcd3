"""Examines an installation: packages, settings, disks, keys, services, clock, schema and schedules. Changes nothing."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import gettempdir
from typing import Final, Literal

from packaging.requirements import Requirement
from sqlalchemy import text

from infra import outages
from infra.backup.create import roots
from infra.configuration.settings import Settings
from infra.database.engine import database_now, engine, revisions
from infra.keys import trust
from infra.keys.credentials import FOLDER, KEYS
from infra.overview.settings_shown import outdated, unknown_schedules, unknown_variables
from infra.prefect_api.schedules import list_schedules
from infra.services.endpoints import database_url
from infra.supervisor import probes
from models.errors import TailorbirdError

_UP: Final = "tailorbird up"
_LITTLE, _TOO_LITTLE = 5e9, 5e8
"""Free bytes below which a disk is a warning, and a fault."""
_MOST_SECONDS: Final = 120
"""The difference of two clocks, and the delay of a schedule, that is no fault."""
_NEWEST: Final = text("SELECT max(started_at) FROM ingest_batches")


@dataclass(frozen=True)
class Finding:
    """The state of one part, and the command or action that fixes it."""

    part: str
    state: Literal["ok", "warning", "fault"]
    finding: str = ""
    fix: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings: one that is `ok` for a part without faults, none for a part whose service is away."""
    alone = dict.fromkeys((_packages, _settings, _disks, _secrets, _services), "")
    needing = {**dict.fromkeys((_keys, _schema, _clock), "postgres"), _schedules: "prefect"}
    answering = probes.reachable(settings) | {"": True}
    for examine_part, service in (alone | needing).items():
        if not answering[service]:
            continue
        name = examine_part.__name__.removeprefix("_")
        try:
            found = list(examine_part(settings))
        except TailorbirdError as error:
            found = [Finding(name, "fault", str(error))]
        except Exception as error:
            if (reason := outages.explain(error)) is None:
                raise
            found = [Finding(name, "fault", reason, _UP)]
        yield from found or [Finding(name, "ok")]


def _packages(_settings: Settings) -> Iterator[Finding]:
    for requirement in map(Requirement, requires("tailorbird") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = "none"
        if installed == "none" or not requirement.specifier.contains(installed, prereleases=True):
            finding = f"{requirement.name} {installed} is installed, and Tailorbird needs {requirement.specifier}"
            yield Finding("packages", "fault", finding, "install Tailorbird again into an environment of its own")


def _settings(settings: Settings) -> Iterator[Finding]:
    for sentence in (*unknown_variables(), *unknown_schedules(settings)):
        yield Finding("settings", "warning", sentence)
    for process, keys in outdated(settings).items():
        yield Finding("settings", "warning", f"the {process} runs with an earlier value of {', '.join(keys)}", _UP)


def _disks(settings: Settings) -> Iterator[Finding]:
    places = [*roots(settings).values(), (settings.var / "postgres").resolve(), Path(gettempdir())]
    by_device = {place.stat().st_dev: place for place in reversed(places) if place.exists()}
    for place in by_device.values():
        free = shutil.disk_usage(place).free
        if free < _LITTLE:
            state: Literal["warning", "fault"] = "fault" if free < _TOO_LITTLE else "warning"
            fix = "free space there; `tailorbird lake compact` and `tailorbird privacy retention` delete old data"
            yield Finding("disks", state, f"{free / 1e9:.1f} GB are free in {place}", fix)


def _secrets(settings: Settings) -> Iterator[Finding]:
    folder = settings.var / FOLDER
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if not os.access(path, os.R_OK):
            fix = f"run commands as {path.owner()}, who ran `tailorbird up`"
            yield Finding("secrets", "fault", f"{path} cannot be read by this user", fix)
        elif path.stat().st_size == 0:
            yield Finding("secrets", "fault", f"{path} is empty", "copy it from a backup: `tailorbird restore`")
        elif path.stat().st_mode & 0o077:
            yield Finding("secrets", "warning", f"other users can read {path}", f"chmod 600 {path}")


def _services(settings: Settings) -> Iterator[Finding]:
    names = probes.reachable(settings)
    for found in probes.probe(settings, names, thorough=True).values():
        if not found.reachable:
            yield Finding("services", "fault", found.reason, _UP)
    for name, alive in probes.running_clients(settings).items():
        if not alive:
            yield Finding("services", "fault", f"the {name} does not run", _UP)


def _keys(settings: Settings) -> Iterator[Finding]:
    trust.check_reader(engine(database_url(settings)), settings, KEYS)
    yield from ()


def _schema(settings: Settings) -> Iterator[Finding]:
    here, needed = revisions(database_url(settings))
    if here != needed:
        yield Finding("schema", "fault", f"the schema is {here}, and this version of Tailorbird needs {needed}", _UP)


def _clock(settings: Settings) -> Iterator[Finding]:
    with engine(database_url(settings)).connect() as connection:
        now, newest = database_now(connection), connection.execute(_NEWEST).scalar()
    seconds = (datetime.now(UTC) - now).total_seconds()
    fix = "synchronise the clocks of both machines, for example with chrony"
    if abs(seconds) > _MOST_SECONDS:
        yield Finding("clock", "warning", f"this clock is {seconds:+.0f} s from that of the database", fix)
    if newest and (newest - now).total_seconds() > _MOST_SECONDS:
        yield Finding("clock", "warning", f"a batch began at {newest:%Y-%m-%d %H:%M} UTC, and it is {now:%H:%M}", fix)


def _schedules(settings: Settings) -> Iterator[Finding]:
    with engine(database_url(settings)).connect() as connection:
        now = database_now(connection)
    for row in list_schedules():
        late = row.next_run is not None and (now - datetime.fromisoformat(row.next_run)).total_seconds()
        if row.active and (row.next_run is None or (late and late > _MOST_SECONDS)):
            finding = f"{row.slug} should have run at {row.next_run}" if late else f"{row.slug} has no next run"
            yield Finding("schedules", "fault", finding, _UP)
