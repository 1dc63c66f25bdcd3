"""Advise how to fix rows that a rule puts into quarantine, and goods with odd prices."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

CONFLICT: Final = "id_conflict"
UNREADABLE: Final = "unreadable"
LINE_UNREADABLE: Final = "line_unreadable"
MEANINGS: Final = MappingProxyType(
    {
        CONFLICT: "an earlier row has the same event_id and other values",
        UNREADABLE: "the line cannot be parsed",
        LINE_UNREADABLE: "the line has more or fewer values than the first line has columns",
    }
)
"""The meanings of the rules outside the row rules of a suite."""

_AGAIN: Final = "then ingest the file again under the same name"
_TIME: Final = f"Check `time_format` and `zone` in the mapping, {_AGAIN}."
_EXCLUDE: Final = f"Leave such rows out by `where` in the mapping, {_AGAIN}; or dismiss them."
_TRAFFIC: Final = "Nothing is wrong: such traffic is excluded on purpose. Dismiss the rows to clear the list."
_ADVICE: Final = MappingProxyType(
    {
        CONFLICT: "If the new values are right, undo the batch of the earlier ones: tailorbird ledger undo BATCH. Then "
        "replay this batch, or ingest its file again if it was refused. If the earlier values are right, dismiss the "
        "rows. Only if one order has several lines of an item, add the column that tells them apart to `event_id` in "
        f"the mapping, undo the earlier batch, {_AGAIN}.",
        UNREADABLE: f"Correct the line in the file, {_AGAIN}.",
        LINE_UNREADABLE: "The line was cut off, or a value that holds the separator has no quotation marks. Correct it "
        f"in the file, {_AGAIN}; or dismiss it.",
        "event_id_missing": f"Name columns in `event_id` that every row fills, or leave the key out, {_AGAIN}.",
        "user_key_missing": f"Fill in the column of `user_id`, {_AGAIN}. {_EXCLUDE}",
        "item_id_missing": f"Fill in the column of `item_id`, {_AGAIN}. {_EXCLUDE}",
        "event_type_missing": f"Fill in the column of `event_type`, or state one event type in `constants`, {_AGAIN}.",
        "title_missing": f"Fill in the column of `title`, {_AGAIN}.",
        "occurred_at_missing": f"Fill in the column of `occurred_at`, {_AGAIN}. {_EXCLUDE}",
        "time_before_1990": _TIME,
        "time_in_future": _TIME,
        "user_id_placeholder": _EXCLUDE,
        "item_id_placeholder": _EXCLUDE,
        "event_type_unknown": "Translate the word under `event_types` in the mapping, then replay the batch.",
        "item_not_in_catalogue": "Ingest the catalogue that has the item, then replay the batch; or replay it with "
        "--accept-unknown-items.",
        "quantity_not_positive": "Usually it is a return or a voided line: dismiss it, or read it as a refund, "
        f"{_AGAIN}.",
        "value_not_positive": "Usually it is a voided line or a gift: dismiss it. If 0 means unknown, write "
        f"`nullif(column, 0)` for `value` in the mapping, {_AGAIN}.",
        "quantity_above_limit": "Check the unit. If so many are usual, set `limits.highest_quantity` in the mapping, "
        "then replay the batch.",
        "value_above_limit": "Check the unit. If so much is usual, set `limits.highest_value` in the mapping, then "
        "replay the batch.",
        "price_negative": f"Correct the price, {_AGAIN}.",
        "currency_unknown": f"Write its code under `[spelling.currency]` in the mapping, {_AGAIN}.",
        "rating_beyond_limit": f"Check which column `rating` names in the mapping, {_AGAIN}.",
        "position_negative": f"Check which column `position` names in the mapping, {_AGAIN}.",
        "robot": _TRAFFIC,
        "internal_traffic": _TRAFFIC,
    }
)


def advice(rule: str) -> str:
    """Return how to fix rows that break a rule; rules of one kind differ by the column in their name."""
    if rule in _ADVICE:
        return _ADVICE[rule]
    column, _, kind = rule.rpartition("_")
    if kind == UNREADABLE:
        return f"Change `{column}` in the mapping as the row suggests, or correct the cell, {_AGAIN}."
    if kind == "missing":
        return f"Fill in the column of `{column}`, or take it out of `required` in the mapping, {_AGAIN}."
    if rule.endswith("_too_long"):
        return f"Check which column `{column.removesuffix('_too')}` names in the mapping, {_AGAIN}."
    return ""


@dataclass(frozen=True)
class OddBatch:
    """A batch whose prices are far from those of the batches before it."""

    batch_id: str
    file: str
    items: int
    price: float
    earlier: float

    def __str__(self) -> str:
        """Return a sentence about its prices."""
        return (
            f"In {self.file} {self.items:,} of them cost {self.price:,.2f} in the median, and {self.earlier:,.2f} in "
            "the files before. It may be a wrong file."
        )

    @property
    def command(self) -> str:
        """Return the command that removes it."""
        return f"tailorbird ledger undo {self.batch_id}"


def odd_prices(suspicion: Mapping[str, Any]) -> str:
    """Return a sentence about items that have odd prices but are sold like goods."""
    items, example = suspicion["items"], suspicion["example"]
    subject = f"Item {example['item_id']} is" if items == 1 else f"{items:,} items, such as {example['item_id']}, are"
    return (
        f"{subject} odd by prices or refunds ({example['why']}), but sold like goods. "
        "A file or the mapping may be wrong."
    )
