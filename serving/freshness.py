"""Whether what placements show is as new as they promise."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from infra.placements import configured
from infra.settings import Settings
from serving.list_counts import lacking_words

FRESH: Final = "fresh"
NEVER: Final = "no lists yet"


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
