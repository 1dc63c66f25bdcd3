"""What every shape of single lines or messages returns: rows of ours, and what became of all the others."""

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from models import columns

ROW_NUMBER: Final = "row_number"
"""The number of the line that a row comes from; whoever splits the lines numbers them."""
ANONYMOUS_ID: Final = "anonymous_id"
"""A device or browser, before its user is known."""
KIND: Final = "kind"
REASON: Final = "reason"
SHA256: Final = "sha256"

_TEXT = pa.string()
_NUMBER = pa.float64()
_INSTANT = pa.timestamp("us", tz="UTC")

EVENTS: Final = pa.schema(
    [
        (ROW_NUMBER, pa.int64()),
        (columns.EVENT_ID, _TEXT),
        (columns.USER_ID, _TEXT),
        (ANONYMOUS_ID, _TEXT),
        (columns.SESSION_ID, _TEXT),
        (columns.ITEM_ID, _TEXT),
        (columns.EVENT_TYPE, _TEXT),
        (columns.OCCURRED_AT, _INSTANT),
        (columns.RECEIVED_AT, _INSTANT),
        (columns.QUANTITY, _NUMBER),
        (columns.VALUE, _NUMBER),
        (columns.CURRENCY, _TEXT),
        (columns.RATING, _NUMBER),
        (columns.PLACEMENT, _TEXT),
        (columns.POSITION, pa.int32()),
        (columns.RECOMMENDATION_ID, _TEXT),
        (columns.CONSENT, pa.bool_()),
        (columns.USER_AGENT, _TEXT),
        (columns.IP, _TEXT),
    ]
)
ALIASES: Final = pa.schema(
    [(ROW_NUMBER, pa.int64()), (ANONYMOUS_ID, _TEXT), (columns.USER_ID, _TEXT), (columns.OCCURRED_AT, _INSTANT)]
)
ROUTED: Final = pa.schema([(ROW_NUMBER, pa.int64()), (KIND, _TEXT)])
ANSWERS: Final = pa.schema(
    [(ROW_NUMBER, pa.int64()), (columns.USER_ID, _TEXT), (columns.OCCURRED_AT, _INSTANT), (columns.CONSENT, pa.bool_())]
)
UNREADABLE: Final = pa.schema([(ROW_NUMBER, pa.int64()), (REASON, _TEXT), (SHA256, _TEXT)])


@dataclass(frozen=True)
class ParsedLines:
    """Lines taken apart. Each line has one or more rows in `events`, or one in `routed`, or one in `unreadable`.

    `items`, `users` and `aliases` are what the same lines say besides; they are counted with the line they come from.
    """

    events: pa.Table
    """Interactions as in `EVENTS`, with raw ids. An event without an item, a user or a time is here with a null."""
    items: pa.Table
    """Catalogue updates, one row per item: of each column the latest that was said, null where nothing was; the time
    of the latest, and its line; `said_at` has the time of each, where they differ."""
    users: pa.Table
    """Raw `user_id` and `anonymous_id`, time, consent, and `attributes`: the traits that are on the allow-list."""
    aliases: pa.Table
    """Which `anonymous_id` turned out to be which `user_id`."""
    answers: pa.Table
    """What people said about consent by calls that are no interaction: how a consent tool reports a change of mind."""
    routed: pa.Table
    """Lines that were understood and are no interaction, with their kind."""
    unreadable: pa.Table
    """Lines that say nothing, with the reason and the SHA-256 of their bytes, in hexadecimal digits."""
    item_changes: pa.Table = field(default_factory=lambda: pa.table({}))
    """When items began to be described in other words, as `segment_rows.item_changes` has it."""
    cleaned: dict[str, int] = field(default_factory=dict)
    """What was mended in events and items, and how often."""

    @property
    def read(self) -> int:
        """How many rows the lines came to: what a ledger counts as read."""
        return len(self.events) + len(self.routed) + len(self.unreadable)
