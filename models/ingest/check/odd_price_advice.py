"""Advise what to do if many goods have odd prices: a file may be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
