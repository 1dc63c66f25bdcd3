"""Thresholds of the gate. Each can be set in the settings; these are the defaults."""

from dataclasses import dataclass, fields
from typing import Final

_MOST: Final = 10**9


@dataclass(frozen=True)
class GateThresholds:
    """Thresholds beside accuracy. The reference is the champion, before the first one the most accurate baseline."""

    users: int = 30
    """Fewest users for a decision: intervals of fewer users mean nothing."""
    group_users: int = 50
    """Groups of fewer users are shown and not judged."""
    group_margin: float = 0.05
    """A model is refused if it is significantly worse for a group, by more than this share of the group's figure."""
    silent_share: float = 0.5
    """Largest share of users, of all or of a group, for whom the model only has the best sellers."""
    cold_share: float = 0.5
    """Least share of users with little history whose lists differ from the best sellers."""
    coverage_share: float = 0.5
    """Least coverage of the catalogue, as a share of the champion's at its promotion. Before the first champion this
    limit and the next two are of the most accurate baseline's figures, and only warn."""
    long_tail_share: float = 0.5
    """Least share of places for rare items, in the same way."""
    gini_rise: float = 0.05
    """Most by which items may be shown more unevenly, in the same way."""
    least_coverage: float = 0.005
    """Least coverage of a first champion, as a share of the items that the places of all people could show."""
    overlap: float = 0.02
    """Least share of a champion's list that stays, on average: with less, something else is probably wrong."""
    overfit_rise: float = 0.1
    """Most by which the overfitting gap may exceed the largest gap of a baseline."""
    score_ms: float = 50.0
    """Longest time for one user's list, in milliseconds of one thread. Only a whole interval above it is refused."""
    artifact_mb: float = 2000.0
    """Largest stored model, in MB."""

    def __post_init__(self) -> None:
        """Raise ValueError for a threshold out of range."""
        amounts = {"users", "group_users", "score_ms", "artifact_mb"}
        for name in (field.name for field in fields(self)):
            if name in amounts and not 0 < getattr(self, name) <= _MOST:
                raise ValueError(f"{name} has to be above 0, and at most {_MOST:,}")
            if name not in amounts and not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: from 0 to 1")
