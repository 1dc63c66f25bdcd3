"""Where an installation stands, as plain values."""

from dataclasses import dataclass
from typing import Literal

from models.monitoring.guidance.cut_short import CutShort
from models.monitoring.guidance.earlier_champion import EarlierChampion


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

    cut_short: tuple[CutShort, ...] = ()
    """Ingests that were cut short, by source."""
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
    placements: tuple[str, ...] = ()
    """All that are configured."""
    without_lists: tuple[str, ...] = ()
    """Placements that have no lists."""
    stale: tuple[str, ...] = ()
    """Placements whose lists are older than they may be, or of another version than the champion."""
    undone_in_dataset: tuple[str, ...] = ()
    """Undone batches that the newest data set still contains."""
    undone_in_champion: tuple[str, ...] = ()
    """Undone batches that the champion learned from."""
    earlier: EarlierChampion | None = None
    """The champion that a rollback would bring back; None without one, or if it contains undone batches too."""
    rolled_back: tuple[str, ...] = ()
    """Placements that show lists which a person took them back to."""
    rolled_back_version: int | None = None
    """The newest version that was promoted, if a rollback left it for an earlier one."""
    rolled_back_overridden: bool = False
    """It was promoted against the gate."""
    review_mode: Literal["manual", "auto", "never"] = "manual"
    dataset_days: float = 0
    """How old the newest data set is."""
    retrain_after_share: float = 0.05
    """Share of new events among all from which a retrain is due."""
    retrain_after_days: float = 14
    """Days after which any new event makes it due."""
    next_retrain: str = ""
    """When the next planned retrain begins; empty if none is planned."""

    @property
    def retrain_due(self) -> bool:
        """Whether new events are enough, or old enough, to retrain for them now."""
        enough = self.new_events >= self.retrain_after_share * self.events
        return self.new_events > 0 and (enough or self.dataset_days >= self.retrain_after_days)
