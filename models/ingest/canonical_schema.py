"""Define the canonical tables that parsers of lines return, including lines without an event."""

from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from models import columns

ROW_NUMBER: Final = "row_number"
"""The number of the line that a row comes from; the reader of the file numbers the lines."""
ANONYMOUS_ID: Final = "anonymous_id"
"""A device or browser, or an earlier id of a user."""
IS_DEVICE: Final = "is_device"
"""Whether the id is that of a device or browser: a user with the same id is somebody else."""
KIND: Final = "kind"
REASON: Final = "reason"
SHA256: Final = "sha256"

_TEXT = pa.string()
_NUMBER = pa.float64()
INSTANT = pa.timestamp("us", tz="UTC")

EVENTS: Final = pa.schema(
    [
        (ROW_NUMBER, pa.int64()),
        (columns.EVENT_ID, _TEXT),
        (columns.USER_ID, _TEXT),
        (IS_DEVICE, pa.bool_()),
        (columns.SESSION_ID, _TEXT),
        (columns.ITEM_ID, _TEXT),
        (columns.EVENT_TYPE, _TEXT),
        (columns.OCCURRED_AT, INSTANT),
        (columns.RECEIVED_AT, INSTANT),
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
    [
        (ROW_NUMBER, pa.int64()),
        (ANONYMOUS_ID, _TEXT),
        (IS_DEVICE, pa.bool_()),
        (columns.USER_ID, _TEXT),
        (columns.OCCURRED_AT, INSTANT),
    ]
)
ROUTED: Final = pa.schema([(ROW_NUMBER, pa.int64()), (KIND, _TEXT)])
ANSWERS: Final = pa.schema(
    [EVENTS.field(name) for name in (ROW_NUMBER, columns.USER_ID, IS_DEVICE, columns.OCCURRED_AT, columns.CONSENT)]
)
UNREADABLE: Final = pa.schema([(ROW_NUMBER, pa.int64()), (REASON, _TEXT), (SHA256, _TEXT)])


@dataclass(frozen=True)
class ParsedLines:
    """The parsed lines. Each line has one or more rows in `events`, or one in `routed`, or one in `unreadable`.

    `items`, `users` and `aliases` come from the same lines; they are counted with their line.
    """

    events: pa.Table
    """Interactions as in `EVENTS`, with raw ids of users, or of devices of unknown users. A missing item, user or
    time is null."""
    items: pa.Table
    """Catalogue updates, one row per item: the latest value of each column, null without one; the time of the latest
    value, and its line. `said_at` has the time of each value if they differ."""
    users: pa.Table
    """Raw `user_id`, time, consent, and `attributes`: the traits on the allow-list."""
    aliases: pa.Table
    """Pairs of an `anonymous_id` and the `user_id` that it belongs to. `is_device` is about the first one."""
    answers: pa.Table
    """Consent from calls that are no interaction, such as a change that a consent tool reports."""
    routed: pa.Table
    """Lines that can be read and are no interaction, with their kind."""
    unreadable: pa.Table
    """Lines that cannot be read, with the reason and the SHA-256 of their bytes in hexadecimal digits."""
    item_changes: pa.Table = field(default_factory=lambda: pa.table({}))
    """Changes of the described values of items over time, from `interactions.item_changes`."""
    cleaned: dict[str, int] = field(default_factory=dict)
    """The number of normalised values in events and items, by name."""

    @property
    def read(self) -> int:
        """Return the number of rows of the lines, which the ledger counts as read."""
        return len(self.events) + len(self.routed) + len(self.unreadable)
