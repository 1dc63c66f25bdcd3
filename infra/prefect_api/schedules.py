"""Creates, lists, pauses and removes schedules in Prefect. `prefect deploy` creates those of prefect.yaml."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from zoneinfo import available_timezones

from infra.configuration.settings import Settings, load, source
from infra.configuration.value_checks import Timing
from infra.prefect_api.client import PAGE, Deployment, DeploymentSchedule, PrefectClient, PrefectError
from infra.prefect_api.deployments import NAME, built_in
from infra.services.endpoints import endpoints
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

_SLUG: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_UNPROCESSABLE, _SERVER_ERROR = 422, 500


class ScheduleRefusedError(TailorbirdError):
    """A schedule cannot be created as requested, or no schedule has that name."""


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule as `tailorbird schedules list` shows it."""

    deployment: str
    slug: str
    cron: str
    zone: str
    set_by: str
    """The file or the person that sets its time, and the later time if Prefect still has an older one."""
    parameters: JsonObject
    active: bool
    next_run: str | None
    """None while it is paused."""


class _Entry(NamedTuple):
    """A schedule with its deployment."""

    deployment: Deployment
    schedule: DeploymentSchedule


def set_schedule(
    deployment: str, slug: str, cron: str, zone: str = "UTC", parameters: Mapping[str, Any] | None = None
) -> None:
    """Run a deployment at these times with these parameters; replaces a schedule with the same slug."""
    client = _client()
    answer = client.get(f"/deployments/name/{deployment}/{deployment}")
    if answer is None:
        raise ScheduleRefusedError(f"Prefect has no deployment {deployment!r}. `tailorbird up` registers them.")
    target, given = Deployment.from_json(answer), dict(parameters or {})
    _check(client, target, slug, zone, given)
    body: JsonObject = {"schedule": {"cron": cron, "timezone": zone}, "active": True, "parameters": given}
    path = f"/deployments/{target.id}/schedules"
    before = next((schedule for schedule in target.schedules if schedule.slug == slug), None)
    with _cron_refusals(cron):
        if before is None:
            [created] = client.post_all(path, [{**body, "slug": slug}])
        else:
            client.patch(f"{path}/{before.id}", body)
    if _plan(client, target.id):
        return
    if before is None:
        client.delete(f"{path}/{created['id']}")
    else:
        earlier = {"schedule": before.rule, "active": before.active, "parameters": before.parameters}
        client.patch(f"{path}/{before.id}", earlier)
    _plan(client, target.id)
    raise ScheduleRefusedError(f"{cron!r} matches no day of the calendar; nothing was changed.")


def list_schedules() -> list[ScheduleRow]:
    """Return every schedule, in order of deployment and slug."""
    client, settings = _client(), load()
    usual = built_in(settings.home)
    rows = []
    for deployment, schedule in _all(client):
        active = schedule.active and not deployment.paused
        row = ScheduleRow(
            deployment=deployment.name,
            slug=schedule.slug,
            cron=schedule.cron,
            zone=schedule.zone,
            set_by=_set_by(schedule, usual, settings),
            parameters=schedule.parameters,
            active=active,
            next_run=_next(client, deployment.id, schedule.id) if active else None,
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (row.deployment, row.slug))


def pause(slug: str) -> None:
    """Keep a schedule, but start no runs until it is resumed."""
    _switch(slug, active=False)


def resume(slug: str) -> None:
    """Start runs of a paused schedule again. The runs that it missed are not made up for."""
    _switch(slug, active=True)


def remove(slug: str) -> None:
    """Delete a schedule and its planned runs."""
    client = _client()
    deployment, schedule = _find(client, slug)
    client.delete(f"/deployments/{deployment.id}/schedules/{schedule.id}")
    _plan(client, deployment.id)  # Prefect has also deleted the planned runs of its other schedules


def cancel_missed_runs(deployment_id: str, schedule_id: str, now: datetime) -> int:
    """Cancel the waiting runs of a schedule whose time has come; return how many.

    `now` is the database's time: by a machine's clock that is ahead, the runs of the next days would be due.
    """
    client = _client()
    due = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"before_": now.isoformat()}}
    runs = client.find("/flow_runs", {"deployments": {"id": {"any_": [deployment_id]}}, "flow_runs": due})
    missed = {"type": "CANCELLED", "name": "Missed", "message": "A run of the same schedule began in its place."}
    waiting = [run for run in runs if _is_of(run, schedule_id)]
    for run in waiting:
        client.post(f"/flow_runs/{run['id']}/set_state", {"state": missed, "force": True})
    return len(waiting)


def _client() -> PrefectClient:
    return PrefectClient.of(endpoints(load()))


def _set_by(schedule: DeploymentSchedule, usual: Mapping[str, Timing], settings: Settings) -> str:
    """Return where the time of a schedule is set, and the later time if Prefect still has an older one."""
    slug = schedule.slug
    if slug not in usual:
        return "hand"
    timing = settings.schedules.get(slug, usual[slug])
    place = source("schedules").partition(": ")[0] if slug in settings.schedules else NAME
    if (schedule.cron, schedule.zone) == (timing.cron, timing.zone):
        return place
    return f"{place}: {timing.cron} {timing.zone} after the next `tailorbird up`"


def _check(client: PrefectClient, deployment: Deployment, slug: str, zone: str, parameters: Mapping[str, Any]) -> None:
    if not _SLUG.fullmatch(slug):
        raise ScheduleRefusedError(f"{slug!r} cannot name a schedule; use small letters, digits and hyphens.")
    if zone not in available_timezones():
        raise ScheduleRefusedError(f"There is no time zone {zone!r}; write one as Europe/Berlin or UTC.")
    known = deployment.parameter_names
    if unknown := sorted(set(parameters) - set(known)):
        raise ScheduleRefusedError(f"{deployment.name} takes no {', '.join(unknown)}; it takes {', '.join(known)}.")
    others = [other.name for other, entry in _all(client) if entry.slug == slug and other.id != deployment.id]
    if others:
        raise ScheduleRefusedError(f"{slug!r} is a schedule of {others[0]}; choose another name, or remove that first.")


@contextmanager
def _cron_refusals(cron: str) -> Iterator[None]:
    """Explain Prefect's refusal of a cron line; only Prefect knows which lines it accepts."""
    try:
        yield
    except PrefectError as error:
        if error.status != _UNPROCESSABLE:
            raise
        raise ScheduleRefusedError(
            f"{cron!r} is no cron line that Prefect reads. It has minute, hour, day, month and weekday: "
            "`0 3 * * *` is every night at three, `*/15 * * * *` every quarter of an hour."
        ) from None


def _plan(client: PrefectClient, deployment_id: str) -> bool:
    """Plan the next runs now rather than within a minute; return False for a cron line that matches no day."""
    try:
        client.post(f"/deployments/{deployment_id}/schedule", {})
    except PrefectError as error:
        if error.status != _SERVER_ERROR:
            raise
        return False
    return True


def _all(client: PrefectClient) -> Iterator[_Entry]:
    for deployment in map(Deployment.from_json, client.find_all("/deployments")):
        yield from (_Entry(deployment, schedule) for schedule in deployment.schedules)


def _find(client: PrefectClient, slug: str) -> _Entry:
    """Return a schedule by its slug or id. Raises ScheduleRefusedError."""
    entries = list(_all(client))
    for entry in entries:
        if slug in (entry.schedule.slug, entry.schedule.id):
            return entry
    names = ", ".join(sorted(entry.schedule.slug for entry in entries))
    raise ScheduleRefusedError(
        f"There is no schedule {slug!r}. There are: {names}." if names else "There is no schedule."
    )


def _switch(slug: str, *, active: bool) -> None:
    client = _client()
    deployment, schedule = _find(client, slug)
    # Without its parameters Prefect would empty them.
    change = {"active": active, "parameters": schedule.parameters}
    client.patch(f"/deployments/{deployment.id}/schedules/{schedule.id}", change)
    _plan(client, deployment.id)


def _next(client: PrefectClient, deployment_id: str, schedule_id: str) -> str | None:
    """Return the next planned run. Prefect plans three runs, but none more than 100 days ahead."""
    planned = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    query = {"deployments": {"id": {"any_": [deployment_id]}}, "flow_runs": planned, "limit": PAGE}
    runs = client.find("/flow_runs", {**query, "sort": "NEXT_SCHEDULED_START_TIME_ASC"})
    return next((str(run["next_scheduled_start_time"]) for run in runs if _is_of(run, schedule_id)), None)


def _is_of(run: JsonObject, schedule_id: str) -> bool:
    """Return whether a schedule created this run."""
    return (run["created_by"] or {}).get("id") == schedule_id
