"""Alerts about placements whose lists are older than their `fresh_hours`."""

from typing import Final

from sqlalchemy import func, select

from infra.configuration.placements import configured
from infra.database.schema.schema import placements
from infra.installation import Installation
from infra.prefect_api import events
from infra.services import prefect_pages
from tasks.orchestration.alert_throttle import AlertThrottle

_DAY: Final = 86_400
_THROTTLE: Final = AlertThrottle()


def alert_stale_lists(installation: Installation, throttle: AlertThrottle = _THROTTLE) -> str | None:
    """Emit an event, at most once a day, for each placement whose lists were not checked for `fresh_hours`."""
    hours = (func.extract("epoch", func.now() - placements.c.checked_at) / 3600).label("hours")
    with installation.engine.connect() as connection:
        ages = {row.placement: float(row.hours) for row in connection.execute(select(placements.c.placement, hours))}
    limits = {
        name: placement.fresh_hours for name, placement in configured(installation.settings).items() if name in ages
    }
    stale = [name for name, limit in limits.items() if ages[name] > limit]
    for name in set(limits) - set(stale):
        throttle.reset(name)
    new = [name for name in stale if not throttle.recently_sent(name, _DAY)]
    for name in new:
        if events.try_emit(
            installation.endpoints,
            events.STALE_LISTS,
            f"tailorbird.placement.{name}",
            _payload(installation, name, ages[name], limits[name]),
        ):
            throttle.mark_sent(name)
    return f"The lists of {', '.join(new)} are stale." if new else None


def _payload(installation: Installation, name: str, hours: float, limit: float) -> dict[str, str]:
    reason = f"The lists of {name} are {hours:.0f} hours old; {limit:g} are allowed. Run `tailorbird score {name}`."
    return {"reason": reason, "page": prefect_pages.deployments(installation.endpoints)}
