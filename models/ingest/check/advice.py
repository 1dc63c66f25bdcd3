"""Advise how to fix rows that a rule puts into quarantine, and goods with odd prices."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CONFLICT: Final = "id_conflict"
UNREADABLE: Final = "unreadable"
LINE_UNREADABLE: Final = "line_unreadable"
_FILE: Final = tomllib.loads(Path(__file__).with_name("advice.toml").read_text("utf-8"))
MEANINGS: Final[dict[str, str]] = _FILE["meanings"]
"""The meanings of the rules outside the row rules of a suite."""


def advice(rule: str) -> str:
    """Return how to fix rows that break a rule; rules of one kind differ by the column in their name."""
    ending = next((one for one in _FILE["endings"] if rule.endswith(one)), "")
    text = _FILE["advice"].get(rule) or _FILE["endings"].get(ending, "")
    return " ".join(text.format(column=rule.removesuffix(ending), **_FILE["texts"]).split())


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
