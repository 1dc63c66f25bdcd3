"""Whether what placements show is as new as they promise."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from models.lists.rules.placement_config import PlacementError
from serving.queries.list_counts import lacking_words

FRESH: Final = "fresh"
NEVER: Final = "no lists yet"
_CHECKED: Final = text("SELECT placement, checked_at FROM placements ORDER BY placement")


def judged(
    shown: Iterable[Mapping[str, Any]], settings: Settings, champion_version: int | None = None
) -> list[dict[str, Any]]:
    """Return each placement with its `state`: fresh, stale, of another version, rolled back, not configured, no lists.

    Raises PlacementError for a configuration that cannot be used.
    """
    there = configured(settings)
    rows = {row["placement"]: dict(row) for row in shown}
    for name, row in rows.items():
        row["state"] = _state(row, there[name].fresh_hours if name in there else None, champion_version)
    missing = [{"placement": name, "batch_id": None, "state": NEVER} for name in there if name not in rows]
    return [*rows.values(), *missing]


def _state(row: Mapping[str, Any], limit: float | None, champion_version: int | None) -> str:
    if limit is None:
        return "no longer configured; its last lists stay"
    if champion_version is not None and row["model_version"] != champion_version:
        return f"made by version {row['model_version']}, but version {champion_version} is the champion"
    if row["hours"] > limit:
        return f"stale: {row['hours']:.0f} hours old, {limit:g} are allowed"
    if row.get("moved_by") and (lacking := lacking_words(row)):
        return f"rolled back; {lacking}"
    return FRESH


def unconfigured(engine: Engine, settings: Settings) -> dict[str, str]:
    """Return the placements that show lists but are no longer configured, and of when these are.

    Empty if the configuration cannot be used.
    """
    with suppress(PlacementError):
        there = configured(settings)
        with engine.connect() as connection:
            rows = connection.execute(_CHECKED).tuples()
            return {name: _moment(checked) for name, checked in rows if name not in there}
    return {}


def unconfigured_note(engine: Engine, settings: Settings, placement: str) -> str:
    """Return that a placement is no longer configured, and of when its lists are; empty for others."""
    moment = unconfigured(engine, settings).get(placement)
    again = f"For newer ones, configure it again, then run `tailorbird score {placement}`."
    return f"{placement} is no longer configured; its lists are of {moment}. {again}" if moment else ""


def unconfigured_words(found: Mapping[str, str]) -> str:
    """Return a line that names the placements that `unconfigured` found; empty for none."""
    names = ", ".join(f"{name} (lists of {moment})" for name, moment in found.items())
    return f"No longer configured, but still shown: {names}." if found else ""


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
