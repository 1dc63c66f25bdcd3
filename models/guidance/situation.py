"""Where an installation stands, as plain values."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LastReview:
    """The newest review of a model version."""

    version: int
    dataset: str
    passed: bool
    failed: tuple[str, ...] = ()
    """The checks of the gate that refused it."""
    decision: str | None = None
    """`approved`, `rejected`, or None while nobody has decided."""
    reviewer: str = ""
    expired: bool = False
    """Nobody decided in time."""


@dataclass(frozen=True)
class Situation:
    """What is there, from the first batch to published lists."""

    batches: int = 0
    """Committed batches of any kind."""
    events: int = 0
    """Events that they accepted."""
    dataset: str | None = None
    """The newest data set."""
    new_events: int = 0
    """Events that were accepted after it was built."""
    trained: int = 0
    """Models that are trained on it."""
    searched: bool = False
    """A search of settings on it has ended."""
    review: LastReview | None = None
    champion: int | None = None
    champion_dataset: str | None = None
    without_lists: tuple[str, ...] = ()
    """Placements that have no lists."""
    stale: tuple[str, ...] = ()
    """Placements whose lists are older than they may be, or of another version than the champion."""
    undone_in_dataset: tuple[str, ...] = ()
    """Undone batches that the newest data set still contains."""
    undone_in_champion: tuple[str, ...] = ()
    """Undone batches that the champion learned from."""
    rolled_back: tuple[str, ...] = ()
    """Placements that show lists which a person took them back to."""
    review_mode: Literal["manual", "auto", "never"] = "manual"
