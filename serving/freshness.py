"""Whether what placements show is as new as they promise."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from infra.placements import configured
from infra.settings import Settings

FRESH: Final = "fresh"
NEVER: Final = "no lists yet"


def judged(shown: Iterable[Mapping[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """What is shown with its `state`: fresh, stale, or no longer configured; and placements without lists.

    Raises PlacementError for a configuration that cannot be used.
    """
    there = configured(settings)
    rows = {row["placement"]: dict(row) for row in shown}
    for name, row in rows.items():
        limit = there[name].fresh_hours if name in there else None
        if limit is None:
            row["state"] = "no longer configured; its last lists stay"
        elif row["hours"] > limit:
            row["state"] = f"stale: {row['hours']:.0f} hours old, {limit:g} are allowed; run `tailorbird score {name}`"
        else:
            row["state"] = FRESH
    missing = [{"placement": name, "batch_id": None, "state": NEVER} for name in there if name not in rows]
    return [*rows.values(), *missing]
