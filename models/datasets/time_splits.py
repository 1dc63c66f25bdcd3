"""Split events in time, never at random: models learn before a moment and are measured on later events.

A boundary is a moment in epoch seconds. An event at the boundary belongs to the later part, so all events of one
second stay together in any order of rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, Self, get_args

import narwhals as nw

from models.columns import OCCURRED_AT
from models.errors import TailorbirdError
from models.features.expressions import Frame
from models.primitives.time import DAY

_MIN_HISTORY_DAYS: Final = 28
_DATES: Final = ("validation_from", "test_from", "as_of")
By = Literal["share", "days", "dates"]


@dataclass(frozen=True)
class Cuts:
    """The cuts in epoch seconds. Search learns before `validation_from` and is measured up to `test_from`.

    The deciding metrics come from [`test_from`, `as_of`), which no search has seen. The final fit learns up to `as_of`.
    """

    validation_from: int
    test_from: int
    as_of: int

    def all(self) -> tuple[int, int, int]:
        """Return the three cuts in order."""
        return (self.validation_from, self.test_from, self.as_of)

    def as_dict(self) -> dict[str, int]:
        """Return the values for manifests."""
        return asdict(self)


@dataclass(frozen=True)
class SplitConfig:
    """How to split. Raises TailorbirdError if it contradicts itself."""

    by: By = "share"
    """`share`: parts of the events in order of time; `days`: the last days; `dates`: the dates given here."""
    shares: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Training, validation and test, by `share`."""
    validation_days: int = 30
    """Days before the test days, by `days`."""
    test_days: int = 31
    """The last days, by `days`."""
    validation_from: date | None = None
    """By `dates`: days begin at midnight UTC."""
    test_from: date | None = None
    """By `dates`."""
    as_of: date | None = None
    """The first day that is left out; it begins at midnight UTC. By `share` the default is right after the newest
    purchase or refund, by `days` the midnight before it. By `dates` it is required."""
    min_history_days: float = 0.0
    """The shortest time between the first event and the first cut."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(self.shares))
        if self.by not in get_args(By):
            raise TailorbirdError(f"No split by {self.by!r}: choose one of {', '.join(get_args(By))}.")
        if self.by != "dates" and (self.validation_from or self.test_from):
            raise TailorbirdError(
                "validation_from and test_from are for a split by 'dates': set by='dates' or drop them."
            )
        if self.by == "dates":
            _check_dates(self.validation_from, self.test_from, self.as_of)
        if len(self.shares) != 3 or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            total = f"{self.shares} sums to {sum(self.shares):g}"
            raise TailorbirdError(f"The three shares must be above 0 and sum to 1: {total}.")
        if min(self.validation_days, self.test_days) < 1:
            needed = "models are measured on held-out days."
            raise TailorbirdError(f"validation_days and test_days must be at least 1: {needed}")
        if not self.min_history_days >= 0:
            raise TailorbirdError("min_history_days must not be negative.")

    def later(self) -> Self:
        """Return the same split for current events: dates become the same numbers of days, up to the newest event."""
        if self.by != "dates" or not (self.validation_from and self.test_from and self.as_of):
            return replace(self, as_of=None)
        lengths = (self.test_from - self.validation_from).days, (self.as_of - self.test_from).days
        by_days = replace(self, by="days", validation_from=None, test_from=None, as_of=None)
        return replace(by_days, validation_days=lengths[0], test_days=lengths[1])

    def as_dict(self) -> dict[str, object]:
        """Return the values as JSON can hold them: dates as ISO text."""
        plain = asdict(self) | {"shares": list(self.shares)}
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the config from its values; a missing value has its default."""
        dates = {name: date.fromisoformat(values[name]) for name in _DATES if values.get(name)}
        return cls(**{**values, **dates})


def split(events: Frame, config: SplitConfig, newest: int | None = None) -> Cuts:
    """Return the cuts of these events (`occurred_at` in epoch s). Raises TailorbirdError for too little history.

    `newest` is the moment (epoch s) of a later record that must be known at the end, such as a refund.
    """
    at = nw.col(OCCURRED_AT)
    earliest, latest = _values(events, at.min().alias("earliest"), at.max().alias("latest"))
    if earliest is None or latest is None:
        raise TailorbirdError("There are no events to split.")
    cuts = _cuts(events, max(int(latest), newest or 0), config)
    history = (cuts.validation_from - int(earliest)) / DAY
    if history <= 0 or history < config.min_history_days:
        raise TailorbirdError(
            f"Training would have {max(0.0, history):.1f} days of history, and needs "
            f"{config.min_history_days or 'some'}: cut later, hold out less, or ingest older events."
        )
    return cuts


def _cuts(events: Frame, latest: int, config: SplitConfig) -> Cuts:
    if config.by == "share":
        return by_share(events, config.shares, latest + 1 if config.as_of is None else midnight(config.as_of))
    if config.by == "days":
        return by_days(latest, config.as_of, config.validation_days, config.test_days)
    return Cuts(*(midnight(getattr(config, name)) for name in _DATES))


def by_share(events: Frame, shares: tuple[float, float, float], as_of: int) -> Cuts:
    """Return cuts that give each part its share of the events before `as_of` (epoch s), counted in order of time.

    The n·share-th event and all events of its second begin the later part, so ties make the earlier part smaller.
    Raises TailorbirdError if a part is empty.
    """
    known = events.filter(nw.col(OCCURRED_AT) < as_of)
    (n,) = _values(known, nw.col(OCCURRED_AT).count())
    places = (round(n * shares[0]), round(n * (shares[0] + shares[1])))
    if not 0 < places[0] < places[1] < n:
        raise TailorbirdError(f"{n} events are too few to split by {shares}: ingest more.")
    # The position is a whole number up to rounding, so nothing is interpolated between two events.
    at = (nw.col(OCCURRED_AT).quantile(place / (n - 1), "linear").alias(f"at_{place}") for place in places)
    validation_from, test_from = (round(moment) for moment in _values(known, *at))
    if not validation_from < test_from:
        raise TailorbirdError("Too many events share one moment to split by share: split by days or dates.")
    return Cuts(validation_from, test_from, as_of)


def by_days(latest: int, as_of: date | None, validation_days: int, test_days: int) -> Cuts:
    """Return cuts that end when the day `as_of` begins (UTC), by default the day of the `latest` event (epoch s)."""
    end = latest // DAY * DAY if as_of is None else midnight(as_of)
    return Cuts(end - (test_days + validation_days) * DAY, end - test_days * DAY, end)


@dataclass(frozen=True)
class Fold:
    """Train before `train_until`, measure on [`measured_from`, `measured_until`), in epoch seconds."""

    train_until: int
    measured_from: int
    measured_until: int


def rolling_origin(earliest: int, end: int, folds: int, horizon_days: int) -> tuple[Fold, ...]:
    """Return folds for cross-validation in time (Tashman 2000), oldest first; each learns from all earlier events.

    The measured windows of `horizon_days` touch and the last one stops at `end` (epoch s). Raises TailorbirdError if
    the first fold would have less than four weeks since the `earliest` event (epoch s).
    """
    if min(folds, horizon_days) < 1:
        raise TailorbirdError("folds and horizon_days must be at least 1.")
    starts = [end - (folds - fold) * horizon_days * DAY for fold in range(folds)]
    history = (starts[0] - earliest) // DAY
    if history < _MIN_HISTORY_DAYS:
        raise TailorbirdError(
            f"The first of {folds} folds would learn from {max(0, history)} days, and needs "
            f"{_MIN_HISTORY_DAYS}: use fewer folds, a shorter horizon or less history."
        )
    return tuple(Fold(start, start, start + horizon_days * DAY) for start in starts)


def _check_dates(*dates: date | None) -> None:
    given = [day for day in dates if day is not None]
    if len(given) < len(dates):
        raise TailorbirdError(f"A split by dates needs all of {', '.join(_DATES)}.")
    if not given[0] < given[1] < given[2]:
        raise TailorbirdError(f"Dates out of order: {' < '.join(_DATES)} must hold, not {', '.join(map(str, given))}.")


def midnight(day: date) -> int:
    """Return the beginning of a day in UTC (epoch s)."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _values(events: Frame, *aggregates: nw.Expr) -> tuple[Any, ...]:
    """Return one value for each aggregate over all rows."""
    return events.select(*aggregates).collect("pyarrow").row(0)
