"""How far a data set may be from what the lake holds, and from the data set before. These are the defaults."""

from dataclasses import dataclass
from typing import Final

_MOST: Final = 10**6


@dataclass(frozen=True)
class DatasetLimits:
    """The limits that a setting can change."""

    smallest_ratio: float = 0.5
    """Least rows, users and items, as a share of those in the lake: fewer refuse the data set. The same share of the
    last data set, or of a group of users, only warns."""
    largest_ratio: float = 2.0
    """Most of them, in the same way."""
    null_rise: float = 0.2
    """Most by which the share of empty values of a feature may rise within one source; more warns."""
    group_users: int = 50
    """A group of users is compared if at least so many of it are to be expected."""

    def __post_init__(self) -> None:
        """Raise ValueError for a limit that cannot be kept."""
        for name in ("smallest_ratio", "null_rise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: from 0 to 1")
        for name in ("largest_ratio", "group_users"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise ValueError(f"{name} has to be at least 1, and at most {_MOST:,}")
