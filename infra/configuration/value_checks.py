"""Checks values of settings: each check returns the value, or raises ValueError with the allowed values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError

_STORES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_BUNDLE_STORES: Final = ("s3", "gs", "abfs", "abfss")
_LEAST_MEMORY: Final = 100 * 10**6
_MOST_MEMORY: Final = 10**15
_MEMORY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([KMG])(i?)B", re.ASCII)
_FIELDS: Final = 5
_ANY_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EXAMPLE: Final = '"0 3 * * *" or { cron = "0 3 * * *", zone = "Europe/Berlin" }'


def folder(path: Path) -> Path:
    """Return the absolute path of a folder. It need not exist, but must not be a file."""
    try:
        absolute = path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user's home; write a path such as /srv/tailorbird/var") from None
    for place in (absolute, *absolute.parents):
        try:
            if place.is_dir():
                break
            blocked = f"{place} is not a folder" if place.exists() else None
        except OSError as error:  # a name of 300 characters, or a folder without access
            blocked = f"it cannot be looked up ({error.strerror})"
        if blocked:
            raise ValueError(f"{blocked}; write the path of a folder, such as /srv/tailorbird/var")
    return absolute


def lake(place: str) -> str:
    """Return the absolute path of a folder, or an address in an object store."""
    return _place(place, _STORES, "s3://bucket/lake")


def _place(place: str, stores: Sequence[str], example: str) -> str:
    scheme, separator, location = place.partition("://")
    if not separator:
        return str(folder(Path(place)))
    if scheme not in stores or not location.strip("/"):
        known = ", ".join(f"{name}://" for name in stores)
        raise ValueError(f"write a folder, or an address by {known}, such as {example}")
    return place


def bundles(place: str) -> str:
    """Return the absolute path of a folder, or an address in an object store."""
    return _place(place, _BUNDLE_STORES, "s3://bucket/bundles")


def memory(amount: str) -> str:
    """Check an amount of memory that DuckDB accepts and can work with."""
    match = _MEMORY.fullmatch(amount)
    size = float(match[1]) * (1024 if match[3] else 1000) ** {"K": 1, "M": 2, "G": 3}[match[2]] if match else 0
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise ValueError("write an amount from 100MB to 1000000GB, such as 4GB")
    return amount


def words(value: str) -> list[str]:
    """Return the words of a setting that are separated by commas."""
    return [word.strip() for word in value.split(",") if word.strip()]


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
