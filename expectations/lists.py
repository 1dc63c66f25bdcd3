"""What a batch of lists promises, judged on one row of counts a list and on figures of the batch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from expectations.rules import RowRule, outside
from models.lists.recommendation_lists import CHECKS

Bounds = Mapping[str, tuple[float | None, float | None]]

OVERLAP: Final = "mean_overlap"
"""The share of its items that a list has from the batch before, in the mean over a sample of subjects."""


def rules() -> tuple[RowRule, ...]:
    """Not one list may break them."""
    made = (outside(name, meaning, name, 0, 0) for name, meaning in CHECKS.items())
    return tuple(replace(rule, mostly=1.0) for rule in made)


def bounds(overlap: tuple[float | None, float | None]) -> Bounds:
    """Of the batch: every subject has its list, each row holds as many scores and reasons as items, what was stored is
    what was looked at; and lists change no more and no less than the placement says."""
    exact = dict.fromkeys(("subjects_without_list", "lists_too_many", "ragged_rows", "unstored"), (0.0, 0.0))
    return {"lists": (1.0, None), **exact, OVERLAP: overlap}
