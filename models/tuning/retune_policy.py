"""Decides whether a new search of settings is due."""

from datetime import datetime
from typing import Final, NamedTuple

MAX_AGE_DAYS: Final = 30
MAX_MINUTES: Final = 60
"""Default time limit of all searches of a retraining together."""
MIN_DRIFT: Final = 0.05
"""A twentieth of the users in other tenths than before. Households of the Complete Journey move by 0.02 to 0.04 in one
to three months, and by 0.05 in five."""


class LastSearch(NamedTuple):
    """The last search of a model."""

    at: datetime
    drift: float | None
    """Distance that users had moved since the search before it."""


def reason_to_search(last: LastSearch | None, now: datetime, drift: float, max_age_days: float = MAX_AGE_DAYS) -> str:
    """Return why a search is due; empty if it is not. `drift` is the distance that users moved since the last one."""
    if last is None:
        return "it has no search yet"
    age = (now - last.at).total_seconds() / 86_400
    if age > max_age_days:
        return f"the last search is {age:.0f} days old, and {max_age_days:g} are enough"
    most = max(MIN_DRIFT, last.drift or 0.0)
    if drift > most:
        return f"users have moved by {drift:.3f} since the last search, and {most:.3f} was the distance before that one"
    return ""
