"""Defines the policies of retraining that a backtest compares, and the days on which it publishes lists."""

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from models.errors import TailorbirdError

_MOST_PERIODS: Final = 520


class Policy(StrEnum):
    """When to retrain. `DRIFT` retrains when the monitor requests it."""

    NEVER = "never"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    DRIFT = "drift"


_EVERY_DAYS: Final[Mapping[str, int]] = {Policy.WEEKLY: 7, Policy.MONTHLY: 28}


def is_due(policy: str, days: int, requested: bool) -> bool:
    """Return whether a policy retrains `days` after its last training; drift does if it `requested` that."""
    return requested if policy == Policy.DRIFT else days >= _EVERY_DAYS.get(policy, days + 1)


def day_of(text: str) -> date:
    """Return the day that a text names. Raises TailorbirdError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise TailorbirdError(f"{text!r} is no day; write one such as 2017-12-31.") from None


def publication_days(begin: date, end: date, step_days: int) -> list[date]:
    """Return the days on which lists are published, and the end as the last one. Raises TailorbirdError."""
    periods = max(0, (end - begin).days // step_days) if step_days > 0 else 0
    if not 1 <= periods <= _MOST_PERIODS:
        raise TailorbirdError(
            f"A backtest has 1 to {_MOST_PERIODS} periods; {begin} to {end} in steps of {step_days} days has "
            f"{periods}. Choose an earlier --from, a later --to or another --step."
        )
    return [begin + timedelta(days=step_days * period) for period in range(periods + 1)]
