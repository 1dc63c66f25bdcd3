"""Define how far a data set may differ from the lake and the last one, and which failed checks a person accepts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from models.errors import TailorbirdError, reason_fault

_MOST: Final = 10**6


@dataclass(frozen=True)
class DatasetLimits:
    """The limits that a setting can change."""

    smallest_ratio: float = 0.5
    """The smallest share of the lake's rows, users and items: a smaller share refuses the data set. For the last data
    set, and for a group of users, it only warns."""
    largest_ratio: float = 2.0
    """The largest ratio, in the same way."""
    null_rise: float = 0.2
    """The largest rise of the share of empty values of a feature within one source; more warns."""
    group_users: int = 50
    """A group of users is compared if at least this many of its users are expected."""

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid limit."""
        for name in ("smallest_ratio", "null_rise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: from 0 to 1")
        for name in ("largest_ratio", "group_users"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise ValueError(f"{name} has to be at least 1, and at most {_MOST:,}")


WARNED: Final = (
    "Warnings stop nothing: models learn from this data set, and nothing has to be accepted. docs/datasets.md lists "
    "the checks and how to set their limits."
)


@dataclass(frozen=True)
class Acceptance:
    """The checks that may fail, the reason, and the person who accepts them. It is recorded with the data set."""

    checks: tuple[str, ...] = ()
    reason: str = ""
    accepted_by: str = ""

    @classmethod
    def of(cls, checks: Iterable[str], reason: str = "", accepted_by: str = "") -> "Acceptance":
        """Return the acceptance; raises TailorbirdError if it gives checks without a reason."""
        names = tuple(dict.fromkeys(name for check in checks for name in [check.strip()] if name))
        if names and (fault := reason_fault(reason, "the checks may fail", "the shop has doubled")):
            raise TailorbirdError(fault)
        return cls(names, reason.strip(), accepted_by or "unknown")
