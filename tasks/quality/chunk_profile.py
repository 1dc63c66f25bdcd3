"""Defines the profile of a chunk: the figures of its rows, from which a batch is validated."""

from typing import TypedDict, cast

from models.primitives.json_types import JsonObject

Counts = dict[str, int]
"""Rows or values, counted by name."""


class UserCounts(TypedDict):
    """The users of a chunk, and what is known of them."""

    named: int
    known: int
    items: int
    """Rows that name a known item."""
    unanswered: int
    """Rows that were dropped because their unknown user never answered about consent."""


class ChunkProfile(TypedDict, total=False):
    """The figures of a chunk, as the ledger stores them; batches of earlier versions lack some."""

    read: int
    accepted: int
    quarantined: int
    duplicate: int
    suppressed: int
    routed: int
    events: int
    nulls: Counts
    """Empty values by column."""
    rules: Counts
    """Rows by the rule that they break."""
    reasons: Counts
    """Unreadable lines by their fault."""
    faulty: int
    """Quarantined rows except those of robots and internal traffic."""
    cleaned: Counts
    """Values that were respelled or filled in."""
    late: int
    impressions: int
    """Accepted impressions, which no model learns from."""
    min: str | None
    """The time of the first accepted event."""
    max: str | None
    unread: JsonObject
    """Unreadable cells, as `models.ingest.tabular.unreadable_cells` describes them."""
    encoding: str
    people: UserCounts


def with_counts(profile: ChunkProfile, counts: Counts) -> ChunkProfile:
    """Return a profile with the counts of a chunk's rows."""
    return cast(ChunkProfile, {**profile, **counts})
