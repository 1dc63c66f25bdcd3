"""Reads the time of a schedule: a cron line and a time zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError

_FIELDS: Final = 5
_ANY_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EXAMPLE: Final = '"0 3 * * *" or { cron = "0 3 * * *", zone = "Europe/Berlin" }'


@dataclass(frozen=True)
class Timing:
    """A cron line and its time zone. Raises ValueError for an invalid line, time zone or day."""

    cron: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the cron line and the time zone."""
        try:
            if len(self.cron.split()) != _FIELDS:
                raise CronSimError
            next(CronSim(self.cron, _ANY_DAY))
        except CronSimError:
            raise ValueError(
                f"{self.cron!r} is no cron line. It has minute, hour, day, month and weekday, such as {_EXAMPLE}"
            ) from None
        except StopIteration:
            raise ValueError(f"{self.cron!r} names a day that no calendar has") from None
        if self.zone not in available_timezones():
            raise ValueError(f"there is no time zone {self.zone!r}; write one as Europe/Berlin or UTC")


def timings(given: Mapping[str, Any]) -> dict[str, Timing]:
    """Return the times of schedules by slug. Each value is a cron line, or a table of cron and zone."""
    parsed = {}
    for slug, value in given.items():
        entry = {"cron": value} if isinstance(value, str) else value
        if isinstance(entry, Timing):
            parsed[slug] = entry
            continue
        fits = isinstance(entry, Mapping) and "cron" in entry and set(entry) <= {"cron", "zone"}
        if not fits or not all(isinstance(part, str) for part in entry.values()):
            raise ValueError(f"{slug} has to be written as {_EXAMPLE}")
        parsed[slug] = Timing(**entry)
    return parsed
