"""How closely drift is watched, and when it may start a retraining. A value can be set; these are the defaults."""

from dataclasses import dataclass, fields
from typing import Final

_MOST: Final = 10**9
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True)
class Watch:
    """Values above 0; raises ValueError for others."""

    days_between_false_retrains: float = 91.0
    """How many days are to pass between two retrainings that nothing was the matter with, on average."""
    window_days: int = 0
    """Length of a window; 0 chooses the shortest of 1, 7, 14 and 28 days with enough users and enough history."""
    least_users: int = 1_000
    """Active users that a window should have, where its length is chosen."""
    sampled_events: int = 4_000_000
    """Most events that are looked at; of more users' a sample by user."""
    labelled_events: int = 200
    """Fewest purchases (where there are none, clicks) since the champion has learned, to learn anything new from."""
    cool_down_days: float = 3.0
    """How long after one retraining drift does not ask for the next; twice as long for each challenger in a row that
    did not win, up to eight times."""
    weekly_budget: int = 2
    """Most retrainings that drift asks for in seven days."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be held."""
        for name in (field.name for field in fields(self)):
            value, most = getattr(self, name), _MOST_DAYS if name.endswith("days") else _MOST
            if not (0 < value <= most or (name == "window_days" and value == 0)):
                raise ValueError(f"{name} has to be above 0, and at most {most:,}")
