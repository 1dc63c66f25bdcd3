"""Takes the weeks after the first lists through the monitor: a closed week, ordinary ones, one of impressions only."""

from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.foreign_shop.export import CLOSED, START, WEEK, Export
from benchmarks.foreign_shop.files import write_export, write_impressions
from benchmarks.installation import CommandFailedError, Shop

_WHERE: Final = "not matches(upper(item), '[A-Z ]{2,}|^[A-Z][0-9]?$')"
_IMPRESSIONS: Final = f"""
name = "shown lists"
consent = "opt-in"
[events]
file = "*.csv"
where = "{_WHERE}"
user_id = "user"
item_id = "item"
occurred_at = "at"
constants = {{ event_type = "impression" }}
"""
"""Without the services, which lists never show."""


def figures(shop: Shop, made: Export, folder: Path, consent: tuple[str, ...], seed: int) -> dict[str, float]:
    """Take the later weeks in; count runs of the monitor that fail, and its false statements."""
    shop.run("ingest", "wholesale", str(write_export(made.later, folder, "later.parquet")), *consent)
    failed, broken = _monitored(shop)
    before = _asks_for_retraining(shop)
    mapping = folder / "impressions.toml"
    mapping.write_text(_IMPRESSIONS)
    shown = write_impressions(made.later, folder, np.random.default_rng(seed))
    shop.run("ingest", str(mapping), str(shown), *consent)
    failed_again, _ = _monitored(shop)
    return {
        "monitor_failed": float(failed + failed_again),
        "feeds_called_broken": float(broken),
        "retrain_for_impressions": float(_asks_for_retraining(shop) and not before),
    }


def _monitored(shop: Shop) -> tuple[bool, int]:
    """Return whether the monitor failed, and in how many weeks with orders it calls the feed broken."""
    try:
        windows = shop.run_json("monitor")["windows"]
    except CommandFailedError as error:
        print(error)
        return True, 0
    opened = str(START + CLOSED[-1] * (WEEK / 7) + WEEK)
    for one in windows:
        print(f"monitor: {one['window_from']} to {one['window_to']}: {one['verdict']}, {one['reasons']}")
    return False, sum(one["verdict"] == "invalid_feed" for one in windows if one["window_from"][:10] >= opened[:10])


def _asks_for_retraining(shop: Shop) -> bool:
    return "retrain" in shop.run_json("status")["next"]["command"]
