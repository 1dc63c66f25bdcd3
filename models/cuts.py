"""The moments of a data set: models learn before a cut and are measured after it. Time only, never at random."""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from models.errors import TailorbirdError

_DAY = 86_400


@dataclass(frozen=True)
class Cuts:
    """All in epoch seconds. Search learns before `validation_from` and is measured up to `test_from`; the figures
    that decide come from [`test_from`, `as_of`), which no search has seen. The final fit learns up to `as_of`."""

    validation_from: int
    test_from: int
    as_of: int

    def all(self) -> tuple[int, int, int]:
        """The three cuts in order."""
        return (self.validation_from, self.test_from, self.as_of)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests."""
        return asdict(self)


def cuts(latest: int, as_of: date | None, validation_days: int, test_days: int) -> Cuts:
    """Cuts that end as the day `as_of` begins (UTC), by default the day of the `latest` event (epoch s)."""
    if min(validation_days, test_days) < 1:
        raise TailorbirdError("validation_days and test_days must be at least 1: models are measured on held-out days.")
    end = latest // _DAY * _DAY
    if as_of is not None:
        end = int(datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC).timestamp())
    return Cuts(end - (test_days + validation_days) * _DAY, end - test_days * _DAY, end)
