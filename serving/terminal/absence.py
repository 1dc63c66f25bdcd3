"""Says why an item is not on a user's list, or how it came there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from models.columns import PURCHASE
from models.lists.absence import Absence, Reason
from models.lists.rules.caps import Cap
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import EVER

_SILENT: Final = "The model has nothing to say about the item for this user: it is not among the candidates."


class Lookups(Protocol):
    """What is read from the events only if the answer depends on it."""

    def age_days(self, item: str) -> float:
        """Return the days since the item was first seen; NaN if it never was."""

    def all_taken_back(self, item: str) -> bool:
        """Return whether every purchase of the item was taken back."""

    def hidden_by(self, key: str, item: str, placement: Placement) -> list[tuple[str, float | str]]:
        """Return the windows of `hide` that keep the item from the user."""

    def bought(self, key: str, item: str) -> bool:
        """Return whether the user ever bought the item and kept it."""

    def is_due(self, key: str, item: str) -> bool:
        """Return whether the user bought the item, and long enough ago."""


@dataclass(frozen=True)
class Case:
    """An item that a user's list does not have."""

    key: str
    item: str
    name: str
    """Of the placement."""
    placement: Placement
    catalogue: ItemAttributes
    position: int
    """Of the item in the catalogue."""
    listed: int
    """Items on the list."""
    lookups: Callable[[], Lookups | None] | None = None
    """Gives None where events cannot be read."""


def listed_words(place: int, length: int, item: int, rules: CompiledRules) -> str:
    """Return at which place an item stands, and which rule put it there."""
    said = f"Place {place} of {length}"
    if (place - 1, item) in rules.pins:
        return f"{said}: it is pinned there."
    if place - 1 in rules.promoted_places and rules.promoted[item]:
        return f"{said}, one of the places for promoted items."
    factor = float(rules.boost[item])
    return f"{said}." if factor == 1 else f"{said}; a boost multiplies its score by {factor:g}."


def absence_words(case: Case, reason: Reason, scored: bool) -> str:
    """Return why an item is not on a list. `scored` if the model has a score of it for the user."""
    if reason.why is Absence.CAPPED and reason.cap is not None:
        return _capped(case, reason.cap)
    if reason.why is Absence.FULL:
        if not scored:
            return f"{_SILENT} Items before it fill the list."
        if reason.place <= case.listed:
            return f"All {case.listed} places are taken by pins, promoted items and items with better scores."
        return f"It would stand at place {reason.place:,}, and the list has {case.listed}."
    return _no_candidate(case, scored)


def _capped(case: Case, cap: Cap) -> str:
    rules, at = case.placement.rules, case.position
    by_brand = rules.cap is not None and rules.cap.brand is not None and _is_brand(case, cap)
    if by_brand:
        group = f"brand {str(case.catalogue.brand[at])!r}"
    else:
        levels = str(case.catalogue.category[at]).split("|")[: rules.cap_level]
        group = f"category {'|'.join(levels)!r}"
    return f"A cap keeps it off: the list has {cap.most} of the {group} already, and `cap` allows no more."


def _is_brand(case: Case, cap: Cap) -> bool:
    return bool(np.array_equal(cap.group, case.catalogue.brands()))


def _no_candidate(case: Case, scored: bool) -> str:
    """Look up in the events what kept the item from this user."""
    look, rules = case.lookups() if case.lookups else None, case.placement.rules
    if look is None:
        return "What the user did to it keeps it off, or the item came after the list was made."
    if rules.lifetime_days is not None and look.age_days(case.item) > rules.lifetime_days:
        days = look.age_days(case.item)
        return f"It was first seen {days:.0f} days ago; `lifetime_days` is {rules.lifetime_days:g}."
    if look.all_taken_back(case.item):
        return "Every purchase of the item was taken back, so it is not recommended."
    if windows := look.hidden_by(case.key, case.item, case.placement):
        done = ", ".join(name if days == EVER else f"{name} within {days:g} days" for name, days in windows)
        return f"What the user did to it keeps it off (`hide`: {done})."
    if case.placement.policy == "discover" and look.bought(case.key, case.item):
        return 'The user bought it before, and the list shows only what is new to the user (`policy = "discover"`).'
    if case.placement.policy == "repurchase" and not look.is_due(case.key, case.item):
        what = f"{PURCHASE} of it is not due again yet" if look.bought(case.key, case.item) else "user never bought it"
        return f'The {what}, and the list shows only what is due (`policy = "repurchase"`).'
    if not scored:
        return _SILENT
    return (
        "Nothing keeps it off now: events, catalogue or rules changed after the list was made. "
        f"Next: `tailorbird score {case.name}`."
    )
