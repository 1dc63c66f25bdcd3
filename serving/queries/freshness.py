"""Judges whether the lists of placements are as fresh as configured, and counts the users without one."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from models.experiments.definition import replaced_placement
from models.lists.rules.placement_config import PlacementError
from models.primitives.json_types import JsonObject

FRESH: Final = "fresh"
NEVER: Final = "no lists yet"
_CHECKED: Final = text("SELECT placement, checked_at FROM placements ORDER BY placement")
_USERS: Final = text("""
    SELECT count(*) FROM users WHERE consent
    AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = users.user_key)
""")


def judged(live: Iterable[JsonObject], settings: Settings, champion_version: int | None = None) -> list[JsonObject]:
    """Return each placement with its `state`: fresh, stale, of another version, rolled back, not configured, no lists.

    A placement without lists has only a name and a state.

    Raises PlacementError for a configuration that cannot be used.
    """
    placements = configured(settings)
    rows: dict[str, JsonObject] = {row["placement"]: {**row} for row in live}
    for name, row in rows.items():
        known = placements.get(replaced_placement(name))
        champion = champion_version if name in placements else None  # a variant may have another model
        row["state"] = _state(row, None if known is None else known.fresh_hours, champion)
    missing = [name for name in placements if name not in rows]
    return [*rows.values(), *({"placement": name, "batch_id": None, "state": NEVER} for name in missing)]


def _state(row: JsonObject, limit: float | None, champion_version: int | None) -> str:
    if limit is None:
        return "no longer configured; its last lists stay"
    if champion_version is not None and row["model_version"] != champion_version:
        return f"made by version {row['model_version']}, but version {champion_version} is the champion"
    if row["hours"] > limit:
        return f"stale: {row['hours']:.0f} hours old, {limit:g} are allowed"
    if row.get("moved_by") and (lacking := lacking_words(row)):
        return f"rolled back; {lacking}"
    return FRESH


def users_with_consent(connection: Connection) -> int:
    """Return the number of users who may have lists."""
    return int(connection.execute(_USERS).scalar_one())


def lacking_words(row: Mapping[str, Any]) -> str:
    """Return how many users have no list; empty for lists about items, and if every user has one.

    It is a minimum: lists of users who withdrew their consent later still count.
    """
    users, lists = row.get("users") or 0, row.get("lists") or 0
    return f"at least {users - lists:,} of {users:,} users have none" if users > lists else ""


def unconfigured(engine: Engine, settings: Settings) -> dict[str, str]:
    """Return the placements with lists that are no longer configured, and the time of their lists.

    Empty if the configuration cannot be used.
    """
    with suppress(PlacementError):
        placements = configured(settings)
        with engine.connect() as connection:
            rows = connection.execute(_CHECKED).tuples()
            return {
                name: f"{checked.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
                for name, checked in rows
                if replaced_placement(name) not in placements
            }
    return {}


def unconfigured_note(engine: Engine, settings: Settings, placement: str) -> str:
    """Return a note that a placement is no longer configured, with the time of its lists; empty for others."""
    moment = unconfigured(engine, settings).get(placement)
    again = f"For newer ones, configure it again, then run `tailorbird score {placement}`."
    return f"{placement} is no longer configured; its lists are of {moment}. {again}" if moment else ""


def unconfigured_line(placements: Mapping[str, str]) -> str:
    """Return a line with the placements that `unconfigured` found; empty for none."""
    names = ", ".join(f"{name} (lists of {moment})" for name, moment in placements.items())
    return f"No longer configured, but still shown: {names}." if placements else ""
