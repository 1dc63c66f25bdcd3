"""Read and format moments."""

from datetime import UTC, datetime
from typing import Any, Final


def moment(at: float) -> str:
    """Return epoch seconds as text in UTC, to the minute, or to the second if one has begun."""
    when = datetime.fromtimestamp(at, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}" if when.second else f"{when:%Y-%m-%d %H:%M}"


def read_moment(stated: Any) -> datetime | None:
    """Return the time of a text in ISO 8601, in UTC if it names no zone; None for anything else."""
    try:
        at = datetime.fromisoformat(stated)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


DAY: Final = 86_400
YEAR_DAYS: Final = 364
"""Days of a year in whole weeks, which keep the weekdays."""
SEASON_DAYS: Final = 28
"""Days ahead whose season a year ago is known."""
