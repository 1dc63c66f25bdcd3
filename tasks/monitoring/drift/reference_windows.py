"""Loads a champion's history in windows from the lake, and calibrates it."""

from infra.installation import Installation
from models.monitoring.drift.calibration.calibrate import Calibration, calibrate
from models.monitoring.drift.calibration.window_length import choose_length, ensure_enough_history, windows_used
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY
from models.monitoring.drift.signals.user_counts import Edges
from tasks.datasets.load_dataset import manifest_of
from tasks.monitoring.drift.event_sample import EventReader, EventSample
from tasks.promotion.champion import Champion

_SEED = 7


def training_cut(installation: Installation, holder: Champion) -> int:
    """Return the end of the champion's training data in epoch seconds."""
    return int(manifest_of(installation, holder["dataset_version"])["as_of"])


def calibrate_before(installation: Installation, reader: EventReader, cut: int) -> tuple[Calibration, History]:
    """Calibrate the bands with the whole days before a cut. Raises TooLittleHistoryError.

    The last window ends at the last midnight before the cut, because windows that begin at the time of day of the last
    event touch one date more than their days.
    """
    midnight = cut // DAY * DAY
    config, days = installation.settings.monitor, _days(reader, midnight)
    length = config.window_days or choose_length(days, reader.active(midnight), config.least_users)
    ensure_enough_history(days, length)
    history, _ = load_history(installation, reader, midnight, length, midnight, skipped_days=int(cut > midnight))
    return calibrate(history, config.days_between_false_retrains / length, _SEED), history


def load_history(
    installation: Installation,
    reader: EventReader,
    reference_to: int,
    length: int,
    end: int,
    edges: Edges | None = None,
    *,
    skipped_days: int,
) -> tuple[History, EventSample]:
    """Return the windows used for calibration and those after the cut up to `end`, of `length` days each."""
    before = windows_used(_days(reader, reference_to), length)
    start = reference_to - before * length * DAY
    sample = reader.read(start, end, installation.settings.monitor.sampled_events)
    shape = start, length, before, len(sample.users), edges or {}, skipped_days
    return History(sample.events, sample.item_table, *shape), sample


def _days(reader: EventReader, cut: int) -> int:
    """Return the days of history before a cut; 0 without events."""
    first = reader.span[0]
    return (cut - first) // DAY if first else 0
