"""Schedules of deployments in Prefect, made by hand. Those of prefect.yaml come with `prefect deploy`."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from urllib.error import HTTPError
from zoneinfo import available_timezones

from infra.configuration.settings import Settings, load, source
from infra.configuration.timing import Timing
from infra.prefect_api.deployment_file import NAME, built_in
from infra.prefect_api.deployments import authorization
from infra.services.endpoints import endpoints
from infra.services.http_client import request_json
from models.errors import TailorbirdError

_PAGE: Final = 200
"""Prefect gives at most so many at once."""


class ScheduleRefusedError(TailorbirdError):
    """A schedule cannot be what was asked for, or there is none of that name."""


def set_schedule(
    deployment: str, slug: str, cron: str, zone: str = "UTC", parameters: Mapping[str, Any] | None = None
) -> None:
    """Let a deployment run by itself, with these parameters; a schedule with the same slug is replaced."""
    found = _call("GET", f"/deployments/name/{deployment}/{deployment}")
    if found is None:
        raise ScheduleRefusedError(f"Prefect has no deployment {deployment!r}. `tailorbird up` tells it about them.")
    given = dict(parameters or {})
    _check(found, slug, zone, given)
    body = {"schedule": {"cron": cron, "timezone": zone}, "active": True, "parameters": given}
    place = f"/deployments/{found['id']}/schedules"
    before = next((entry for entry in found["schedules"] if entry["slug"] == slug), None)
    with _explained(cron):
        if before is None:
            [made] = _call("POST", place, [{**body, "slug": slug}])
        else:
            _call("PATCH", f"{place}/{before['id']}", body)
    if _plan(found["id"]):
        return
    if before is None:
        _call("DELETE", f"{place}/{made['id']}")
    else:
        _call("PATCH", f"{place}/{before['id']}", {name: before[name] for name in body})
    _plan(found["id"])
    raise ScheduleRefusedError(f"{cron!r} comes on no day that there is; nothing was changed.")


def list_schedules() -> list[dict[str, Any]]:
    """Every schedule: deployment, slug, cron, zone, set_by, parameters, next_run (None while it is paused), active."""
    rows, settings = [], load()
    usual = built_in(settings.home)
    for deployment, entry in _all():
        active = entry["active"] and not deployment["paused"]
        row = {"deployment": deployment["name"], "slug": entry["slug"] or entry["id"], **_when(entry["schedule"])}
        row |= {"set_by": _set_by(row, usual, settings), "parameters": entry["parameters"], "active": active}
        rows.append(row | {"next_run": _next(deployment["id"], entry["id"]) if active else None})
    return sorted(rows, key=lambda row: (row["deployment"], row["slug"]))


def _set_by(row: Mapping[str, str], usual: Mapping[str, Timing], settings: Settings) -> str:
    """Where the time of a schedule is set, and what to do when Prefect still has another one."""
    slug = row["slug"]
    if slug not in usual:
        return "hand"
    wanted = settings.schedules.get(slug, usual[slug])
    place = source("schedules").partition(": ")[0] if slug in settings.schedules else NAME
    return (
        place
        if (row["cron"], row["zone"]) == (wanted.cron, wanted.zone)
        else f"{place}: {wanted.cron} {wanted.zone} after the next `tailorbird up`"
    )


def pause(slug: str) -> None:
    """Keep a schedule, but let it start nothing until it is resumed."""
    _switch(slug, active=False)


def resume(slug: str) -> None:
    """Let a paused schedule go on. What it missed is not made up for."""
    _switch(slug, active=True)


def remove(slug: str) -> None:
    """Delete a schedule and the runs that it has planned."""
    deployment, entry = _find(slug)
    _call("DELETE", f"/deployments/{deployment['id']}/schedules/{entry['id']}")
    _plan(deployment["id"])  # Prefect has deleted the planned runs of its other schedules too


def cancel_missed_runs(deployment_id: str, schedule_id: str, now: datetime) -> int:
    """Cancel the runs of a schedule that wait though their time has come; returns how many.

    `now` is the database's time: by the clock of a machine that is ahead, the runs of the next days would be due.
    """
    due = {
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "expected_start_time": {"before_": now.isoformat()},
    }
    chosen = {"deployments": {"id": {"any_": [deployment_id]}}, "flow_runs": due}
    missed = {"type": "CANCELLED", "name": "Missed", "message": "A run of the same schedule began in its place."}
    waiting = [run for run in _call("POST", "/flow_runs/filter", chosen) if _of(run, schedule_id)]
    for run in waiting:
        _call("POST", f"/flow_runs/{run['id']}/set_state", {"state": missed, "force": True})
    return len(waiting)


def _call(method: str, path: str, body: Any = None) -> Any:
    here = endpoints(load())
    return request_json(method, f"{here.prefect_api_url.rstrip('/')}{path}", authorization(here.environment), body)


def _check(deployment: Mapping[str, Any], slug: str, zone: str, parameters: Mapping[str, Any]) -> None:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", slug):
        raise ScheduleRefusedError(f"{slug!r} cannot name a schedule; use small letters, digits and hyphens.")
    if zone not in available_timezones():
        raise ScheduleRefusedError(f"There is no time zone {zone!r}; write one as Europe/Berlin or UTC.")
    known = deployment["parameter_openapi_schema"].get("properties", {})
    if unknown := sorted(set(parameters) - set(known)):
        raise ScheduleRefusedError(f"{deployment['name']} takes no {', '.join(unknown)}; it takes {', '.join(known)}.")
    others = [other["name"] for other, entry in _all() if entry["slug"] == slug and other["id"] != deployment["id"]]
    if others:
        raise ScheduleRefusedError(f"{slug!r} is a schedule of {others[0]}; choose another name, or remove that first.")


@contextmanager
def _explained(cron: str) -> Iterator[None]:
    """Only Prefect can say whether it reads a cron line; what it says goes to a person in our words."""
    try:
        yield
    except HTTPError as refusal:
        if refusal.code != 422:
            raise
        raise ScheduleRefusedError(
            f"{cron!r} is no cron line that Prefect reads. It has minute, hour, day, month and weekday: "
            "`0 3 * * *` is every night at three, `*/15 * * * *` every quarter of an hour."
        ) from None


def _plan(deployment_id: str) -> bool:
    """Have the next runs planned now rather than within a minute; False for a cron line that names no day."""
    try:
        _call("POST", f"/deployments/{deployment_id}/schedule", {})
    except HTTPError as refusal:
        if refusal.code != 500:
            raise
        return False
    return True


def _all() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every schedule with its deployment."""
    offset = 0
    while page := _call("POST", "/deployments/filter", {"limit": _PAGE, "offset": offset}):
        yield from ((deployment, entry) for deployment in page for entry in deployment["schedules"])
        offset += len(page)


def _find(slug: str) -> tuple[dict[str, Any], dict[str, Any]]:
    every = list(_all())
    for deployment, entry in every:
        if slug in (entry["slug"], entry["id"]):
            return deployment, entry
    names = ", ".join(sorted(entry["slug"] or entry["id"] for _, entry in every))
    raise ScheduleRefusedError(
        f"There is no schedule {slug!r}. There are: {names}." if names else "There is no schedule."
    )


def _switch(slug: str, *, active: bool) -> None:
    deployment, entry = _find(slug)
    # Without its parameters Prefect would empty them.
    change = {"active": active, "parameters": entry["parameters"]}
    _call("PATCH", f"/deployments/{deployment['id']}/schedules/{entry['id']}", change)
    _plan(deployment["id"])


def _when(schedule: Mapping[str, Any]) -> dict[str, str]:
    """Cron line and zone; an interval or a calendar rule that somebody made on Prefect's page is shown as it is."""
    every = f"every {schedule.get('interval')} s"
    return {"cron": schedule.get("cron") or schedule.get("rrule") or every, "zone": schedule.get("timezone") or "UTC"}


def _next(deployment_id: str, schedule_id: str) -> str | None:
    """When the next run is planned. Prefect plans three runs, but none that is more than 100 days off."""
    state = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    chosen = {"deployments": {"id": {"any_": [deployment_id]}}, "flow_runs": state, "limit": _PAGE}
    runs = _call("POST", "/flow_runs/filter", {**chosen, "sort": "NEXT_SCHEDULED_START_TIME_ASC"})
    return next((str(run["next_scheduled_start_time"]) for run in runs if _of(run, schedule_id)), None)


def _of(run: Mapping[str, Any], schedule_id: str) -> bool:
    """Whether the schedule made this run."""
    return (run["created_by"] or {}).get("id") == schedule_id
