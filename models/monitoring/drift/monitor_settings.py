"""Configuration of the drift monitor. Each value can be set in the settings; these are the defaults."""

from dataclasses import dataclass, fields
from typing import Final

_MOST: Final = 10**9
_MOST_DAYS: Final = 36_500


@dataclass(frozen=True)
class DriftMonitorConfig:
    """Values above 0; raises ValueError for others."""

    days_between_false_retrains: float = 91.0
    """Days between two retrainings without a real cause, on average."""
    window_days: int = 0
    """Length of a window; 0 chooses the shortest of 1, 7, 14 and 28 days with enough users and enough history."""
    least_users: int = 1_000
    """Active users that a window should have when its length is chosen."""
    sampled_events: int = 4_000_000
    """Most events that are examined; of more, a sample of users is taken."""
    labelled_events: int = 200
    """Fewest purchases since the champion was trained, for a retraining; clicks if there are no purchases."""
    cool_down_days: float = 3.0
    """Days after a retraining before drift asks for the next one. They double for each challenger in a row that did
    not win, up to eight times."""
    weekly_budget: int = 2
    """Most retrainings that drift asks for in seven days."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range."""
        for name in (field.name for field in fields(self)):
            value, most = getattr(self, name), _MOST_DAYS if name.endswith("days") else _MOST
            if not (0 < value <= most or (name == "window_days" and value == 0)):
                raise ValueError(f"{name} has to be above 0, and at most {most:,}")
