"""Defines the expectations on a batch of lists: on one row of counts per list, and on figures of the batch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from expectations.rules import outside
from models.ingest.batch_limits import Bounds
from models.lists.ranked_lists import CHECKS

OVERLAP: Final = "mean_overlap"
"""The mean share of a list's items that the previous batch had, over a sample of subjects."""
LIST_RULES: Final = tuple(replace(outside(name, meaning, name, 0, 0), mostly=1.0) for name, meaning in CHECKS.items())
"""No list may break them."""
LIST_BOUNDS: Final[Mapping[str, Bounds]] = {
    "lists": (1.0, None),
    **dict.fromkeys(("subjects_without_list", "lists_too_many", "ragged_rows", "unstored"), (0.0, 0.0)),
}
"""Every subject has a list, rows are complete, and all checked lists are stored. Placements bound the overlap."""
