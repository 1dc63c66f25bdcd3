"""A champion's history in windows, from the lake, and what is usual in it."""

from typing import Any

from infra.installation import Installation
from models.monitoring.drift.calibration.calibrate import Calibration, calibrate
from models.monitoring.drift.calibration.window_length import choose_length, ensure_enough_history, windows_used
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY
from tasks.datasets.load_dataset import manifest_of
from tasks.monitoring.drift.event_sample import EventReader, EventSample
from tasks.promotion.champion import Champion

_SEED = 7


def training_cut(installation: Installation, holder: Champion) -> int:
    """Up to when the champion has learned (epoch s)."""
    return int(manifest_of(installation, holder["dataset_version"])["as_of"])


def calibrate_before(installation: Installation, reader: EventReader, cut: int) -> tuple[Calibration, History]:
    """Learn from the windows before a cut what is usual. Raises TooLittleHistoryError."""
    watch, days = installation.settings.monitor, _days(reader, cut)
    length = watch.window_days or choose_length(days, reader.active(cut), watch.least_users)
    ensure_enough_history(days, length)
    history, _ = load_history(installation, reader, cut, length, cut)
    return calibrate(history, watch.days_between_false_retrains / length, _SEED), history


def load_history(
    installation: Installation, reader: EventReader, cut: int, length: int, end: int, edges: Any = None
) -> tuple[History, EventSample]:
    """The windows before a cut that are learned from, and those after it up to `end`, of `length` days each."""
    before = windows_used(_days(reader, cut), length)
    start = cut - before * length * DAY
    sample = reader.read(start, end, installation.settings.monitor.sampled_events)
    return History(sample.events, sample.item_table, start, length, before, len(sample.users), edges or {}), sample


def _days(reader: EventReader, cut: int) -> int:
    """How long the history before a cut is; nothing where there are no events."""
    first = reader.span[0]
    return (cut - first) // DAY if first else 0
