"""Format moments."""

from datetime import UTC, datetime
from typing import Final


def moment(at: float) -> str:
    """Return epoch seconds as text in UTC, to the minute, or to the second if one has begun."""
    when = datetime.fromtimestamp(at, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}" if when.second else f"{when:%Y-%m-%d %H:%M}"


DAY: Final = 86_400
