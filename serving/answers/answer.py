"""Answers to requests for recommendations: ranked items, and where they come from."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import orjson

Source = Literal["live", "cache", "table", "last_good", "segment", "popular"]
"""The part of the fallback chain that an answer comes from."""


class Entry(NamedTuple):
    """One item of a list before titles and ranks are added."""

    item_id: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries from one source, best first, before availability and exclusions of this moment are applied."""

    entries: tuple[Entry, ...]
    model_version: int | None = None
    batch_id: int | None = None
    personal: bool = False
    """Whether it depends on what is stored about the visitor."""
    degraded: bool = False
    """Whether a dependency did not answer that would have improved the list."""
    bought_since: frozenset[str] = frozenset()
    """What the visitor bought lately, in a live list of what is due: published ones may still have it."""


class RankedItem(NamedTuple):
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

    item_ids: tuple[str, ...]
    """Best first."""
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
    variant: str | None = None
    """The variant of a running experiment, as experiment/variant."""
    items_json: bytes = b"[]"
    """The items as a JSON array of objects with the fields of `RankedItem`, serialised once for all requests."""

    @property
    def items(self) -> tuple[RankedItem, ...]:
        """Return the items as objects.

        They are made when they are read: thousands of answers stay in memory, and garbage collections, for which all
        requests wait, would look at each object.
        """
        return tuple(RankedItem(**item) for item in orjson.loads(self.items_json))
