"""Counts what became of messages, for the metrics of the process."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class EventCounts:
    """The messages of this process since its start."""

    messages: Counter[str] = field(default_factory=Counter)
    """By outcome: stored, spooled, duplicate, conflict, refused, dropped."""
    impressions: Counter[str] = field(default_factory=Counter)
    """Answers whose impressions were stored, spooled, sampled_out or dropped."""
    replayed: int = 0
    """Messages that this process moved from the spool to Postgres."""
