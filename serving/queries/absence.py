"""Explains in sentences why an item is on a user's list, or why not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from models.columns import PURCHASE
from models.lists.absence import Absence, Reason
from models.lists.rules.compiled_rules import Cap, CompiledRules, ItemAttributes
from models.lists.rules.placement_config import EVER, Placement

_NO_SCORE: Final = "The model has no score of the item for this user: it is not among the candidates."


class Lookups(Protocol):
    """Reads events, only for answers that depend on them."""

    def age_days(self, item: str) -> float:
        """Return the days since the first event of the item; NaN without events."""

    def fully_refunded(self, item: str) -> bool:
        """Return whether every purchase of the item was refunded."""

    def hidden_by(self, key: str, item: str, placement: Placement) -> list[tuple[str, float | str]]:
        """Return the windows of `hide` that exclude the item for the user."""

    def bought(self, key: str, item: str) -> bool:
        """Return whether the user ever bought the item without a refund."""

    def returned(self, key: str, item: str) -> bool:
        """Return whether the user bought the item, and every purchase of it was refunded."""

    def is_due(self, key: str, item: str) -> bool:
        """Return whether the user's next purchase of the item is due."""


@dataclass(frozen=True)
class Case:
    """An item that is not on a user's list."""

    key: str
    item: str
    name: str
    """The name of the placement."""
    placement: Placement
    catalogue: ItemAttributes
    position: int
    """The position of the item in the catalogue."""
    listed: int
    """The number of items on the list."""
    lookups: Callable[[], Lookups | None] | None = None
    """Returns None if events cannot be read."""


def listed_words(place: int, length: int, item: int, rules: CompiledRules) -> str:
    """Return the place of an item, and the rule that put it there."""
    sentence = f"Place {place} of {length}"
    if (place - 1, item) in rules.pins:
        return f"{sentence}: it is pinned there."
    if place - 1 in rules.promoted_places and rules.promoted[item]:
        return f"{sentence}, one of the places for promoted items."
    factor = float(rules.boost[item])
    return f"{sentence}." if factor == 1 else f"{sentence}; a boost multiplies its score by {factor:g}."


def absence_words(case: Case, reason: Reason, scored: bool) -> str:
    """Return why an item is not on a list. `scored`: whether the model has a score of it for the user."""
    if reason.why is Absence.CAPPED and reason.cap is not None:
        return _capped(case, reason.cap)
    if reason.why is Absence.FULL:
        if not scored:
            return f"{_NO_SCORE} Items before it fill the list."
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
    """Return the reason from the user's events."""
    lookups, rules = case.lookups() if case.lookups else None, case.placement.rules
    if lookups is None:
        return "An action of the user keeps it off, or the item is newer than the list."
    if rules.lifetime_days is not None and lookups.age_days(case.item) > rules.lifetime_days:
        days = lookups.age_days(case.item)
        return f"It was first seen {days:.0f} days ago; `lifetime_days` is {rules.lifetime_days:g}."
    if lookups.fully_refunded(case.item):
        return "Every purchase of the item was refunded, so it is not recommended."
    if lookups.returned(case.key, case.item):
        return "Every purchase of the item by this user was refunded, so the user does not get it."
    if windows := lookups.hidden_by(case.key, case.item, case.placement):
        actions = ", ".join(name if days == EVER else f"{name} within {days:g} days" for name, days in windows)
        return f"An action of the user keeps it off (`hide`: {actions})."
    if case.placement.policy == "discover" and lookups.bought(case.key, case.item):
        return 'The user bought it before, and the list shows only what is new to the user (`policy = "discover"`).'
    if case.placement.policy == "repurchase" and not lookups.is_due(case.key, case.item):
        reason_text = (
            f"{PURCHASE} of it is not due again yet" if lookups.bought(case.key, case.item) else "user never bought it"
        )
        return f'The {reason_text}, and the list shows only what is due (`policy = "repurchase"`).'
    if not scored:
        return _NO_SCORE
    return (
        "Nothing keeps it off now: events, catalogue or rules changed after the list was made. "
        f"Next: `tailorbird score {case.name}`."
    )
