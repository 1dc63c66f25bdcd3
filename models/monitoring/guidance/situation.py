"""The state of an installation, as plain values."""

from dataclasses import dataclass
from typing import Literal

from models.monitoring.guidance.cut_short import CutShort


@dataclass(frozen=True)
class LastReview:
    """The newest review of a model version."""

    version: int
    dataset: str
    passed: bool
    failed: tuple[str, ...] = ()
    """The failed checks of the gate."""
    decision: str | None = None
    """`approved`, `rejected`, or None without a decision."""
    reviewer: str = ""
    expired: bool = False
    """The review expired without a decision."""

    @property
    def verdict(self) -> str:
        """Return waiting, refused (by the gate), approved, expired, or rejected (by a person)."""
        if self.decision is None:
            return "waiting" if self.passed else "refused"
        if self.decision == "approved":
            return "approved"
        return "expired" if self.expired else "rejected"


@dataclass(frozen=True)
class EarlierChampion:
    """The model version that was champion before the present one."""

    version: int
    kind: str
    ndcg: float | None = None
    """NDCG@10 of its settings on the champion's test weeks; None if not measured."""
    champion_ndcg: float | None = None

    @property
    def sentence(self) -> str:
        """Return when to roll back, with the metrics of both."""
        measured = "Nobody measured both on the same test weeks."
        if self.ndcg is not None and self.champion_ndcg is not None:
            both = f"{self.ndcg:.4f}, and {self.champion_ndcg:.4f} for the champion"
            measured = f"NDCG@10 on the same test weeks: {both}."
        return (
            "Only if what the champion learned from it is harmful: `tailorbird rollback model` lets "
            f"version {self.version} ({self.kind}) answer until then. {measured}"
        )


@dataclass(frozen=True)
class Situation:
    """The state from the first batch to published lists."""

    cut_short: tuple[CutShort, ...] = ()
    """Interrupted ingests, by source."""
    batches: int = 0
    """Committed batches of any kind."""
    events: int = 0
    """Accepted events of these batches, without impressions: no model learns from them."""
    dataset: str | None = None
    """The newest data set."""
    new_events: int = 0
    """Events, without impressions, that were accepted after it was built."""
    trained: int = 0
    """Number of models trained on the data set."""
    searched: bool = False
    """Whether a search of settings on the data set has ended."""
    review: LastReview | None = None
    champion: int | None = None
    champion_dataset: str | None = None
    placements: tuple[str, ...] = ()
    """All configured placements."""
    without_lists: tuple[str, ...] = ()
    """Placements that have no lists."""
    stale: tuple[str, ...] = ()
    """Placements whose lists are older than they may be, or of another version than the champion."""
    undone_in_dataset: tuple[str, ...] = ()
    """Undone batches that the newest data set still contains."""
    undone_in_champion: tuple[str, ...] = ()
    """Undone batches that the champion learned from."""
    earlier: EarlierChampion | None = None
    """The champion that a rollback would restore; None without one, or if it also contains undone batches."""
    rolled_back: tuple[str, ...] = ()
    """Placements that were rolled back to earlier lists."""
    rolled_back_version: int | None = None
    """The newest promoted version, if a rollback replaced it with an earlier one."""
    rolled_back_overridden: bool = False
    """Whether that version was promoted against the gate."""
    review_mode: Literal["manual", "auto", "never"] = "manual"
    dataset_days: float = 0
    """Age of the newest data set in days."""
    retrain_after_share: float = 0.05
    """Share of new events among all events from which a retrain is due."""
    retrain_after_days: float = 14
    """Days after which any new event makes a retrain due."""
    next_retrain: str = ""
    """When the next planned retrain begins; empty if none is planned."""

    @property
    def verdict(self) -> str:
        """Return the verdict of the newest review; empty without one."""
        return self.review.verdict if self.review else ""

    @property
    def retrain_due(self) -> bool:
        """Whether the new events are enough, or old enough, for a retrain."""
        enough = self.new_events >= self.retrain_after_share * self.events
        return self.new_events > 0 and (enough or self.dataset_days >= self.retrain_after_days)
