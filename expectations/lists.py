"""Defines the expectations on a batch of lists: on one row of counts per list, and on figures of the batch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from expectations.rules import RowRule, outside
from models.lists.ranked_lists import CHECKS

Bounds = Mapping[str, tuple[float | None, float | None]]

OVERLAP: Final = "mean_overlap"
"""The mean share of a list's items that the previous batch had, over a sample of subjects."""


def rules() -> tuple[RowRule, ...]:
    """Return the row rules; no list may break them."""
    made = (outside(name, meaning, name, 0, 0) for name, meaning in CHECKS.items())
    return tuple(replace(rule, mostly=1.0) for rule in made)


def bounds(overlap: tuple[float | None, float | None]) -> Bounds:
    """Return the bounds of a batch: every subject has a list, rows are complete, and all checked lists are stored.

    `overlap` bounds the share of items from the previous batch.
    """
    exact = dict.fromkeys(("subjects_without_list", "lists_too_many", "ragged_rows", "unstored"), (0.0, 0.0))
    return {"lists": (1.0, None), **exact, OVERLAP: overlap}
