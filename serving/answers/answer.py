"""Answers to requests for recommendations: ranked items, and where they come from."""

from dataclasses import dataclass
from typing import Literal

Source = Literal["live", "cache", "table", "last_good", "segment", "popular"]
"""The part of the fallback chain that an answer comes from."""


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One place of an answer."""

    item_id: str
    rank: int
    score: float
    reason: str
    title: str | None = None
    url: str | None = None
    image: str | None = None
    price: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A ranked list with its origin."""

    items: tuple[RankedItem, ...]
    placement: str
    source: Source
    model_version: int | None = None
    """The registered version of the model; None for a standalone bundle without one."""
    batch_id: int | None = None
    """The published batch; None for items that no batch lists."""
    degraded: bool = False
    """Whether a dependency did not answer and a later part of the chain answered for it."""
    personal: bool = False
    """Whether the list depends on the visitor; such answers need consent at the time of each request."""
