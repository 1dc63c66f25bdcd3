"""A champion's history in windows, from the lake, and what is usual in it."""

from typing import Any

from infra.installation import Installation
from models.monitoring.drift.calibration.calibrate import Calibration, calibrate
from models.monitoring.drift.calibration.window_length import check, choose, kept
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY
from tasks.datasets.load_dataset import manifest_of
from tasks.monitoring.drift.event_sample import Watched, Watching
from tasks.promotion.champion import Champion

_SEED = 7


def learned_until(installation: Installation, holder: Champion) -> int:
    """Up to when the champion has learned (epoch s)."""
    return int(manifest_of(installation, holder["dataset_version"])["as_of"])


def usual(installation: Installation, lake: Watching, cut: int) -> tuple[Calibration, History]:
    """Learn from the windows before a cut what is usual. Raises TooLittleHistoryError."""
    watch, days = installation.settings.monitor, _days(lake, cut)
    length = watch.window_days or choose(days, lake.active(cut), watch.least_users)
    check(days, length)
    history, _ = opened(installation, lake, cut, length, cut)
    return calibrate(history, watch.days_between_false_retrains / length, _SEED), history


def opened(
    installation: Installation, lake: Watching, cut: int, length: int, end: int, edges: Any = None
) -> tuple[History, Watched]:
    """The windows before a cut that are learned from, and those after it up to `end`, of `length` days each."""
    before = kept(_days(lake, cut), length)
    start = cut - before * length * DAY
    found = lake.read(start, end, installation.settings.monitor.sampled_events)
    return History(found.events, found.goods, start, length, before, len(found.users), edges or {}), found


def _days(lake: Watching, cut: int) -> int:
    """How long the history before a cut is; nothing where there are no events."""
    first = lake.span[0]
    return (cut - first) // DAY if first else 0
