"""What an operator typed into the forms of a placement, and the rule that it states."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from serving.shop.client.answers import Product
from serving.shop.operators.rules import Rule

ACTS: Final[Mapping[str, str]] = {
    "pin": "Pin it to a place",
    "hide": "Hide it in this placement",
    "hide-everywhere": "Hide it in all placements",
    "boost": "Boost it, or show it less",
}
_FACTOR: Final = re.compile(r"[0-9]{1,9}([.,][0-9]{1,9})?")
_PLACE: Final = re.compile("[1-9][0-9]{0,2}|1000")
_ABOUT: Final = {"item", "category", "brand"}


def choices(found: Iterable[Product]) -> list[tuple[str, str]]:
    """Return what rules can be about after a search, as value and label: products, then their categories and brands."""
    products = list(found)
    paths = [part.split("|") for one in products if (part := one.category)]
    levels = ("|".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1))
    brands = (one.brand for one in products if one.brand)
    return [
        *((f"item:{one.item_id}", f"{one.title} (item {one.item_id})") for one in products),
        *((f"category:{path}", f"All of the category {path.replace('|', ', ')}") for path in dict.fromkeys(levels)),
        *((f"brand:{brand}", f"All of the brand {brand}") for brand in dict.fromkeys(brands)),
    ]


class RuleError(Exception):
    """The form states no rule."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(", ".join(errors))
        self.errors = errors
        """A sentence for each field that has a fault."""


@dataclass(frozen=True, slots=True)
class Typed:
    """The values of all fields. A page shows them again, so that nothing has to be typed twice."""

    q: str = ""
    about: str = ""
    """The kind of the subject and the subject, such as `item:995242`."""
    act: str = "pin"
    place: str = "1"
    factor: str = "2"
    until: str = ""
    user: str = ""
    item: str = ""
    comment: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Typed":
        """Return the values of a form. What it does not have stays as on an empty form."""
        return cls(**{field.name: given[field.name].strip() for field in fields(cls) if field.name in given})

    def rule(self, placement: str) -> Rule:
        """Return the rule for a placement. Raises RuleError."""
        errors = dict[str, str]()
        kind, _, subject = self.about.partition(":")
        if kind not in _ABOUT or not subject:
            errors["about"] = "Choose a product first; search for it by words of its title."
        elif kind != "item" and self.act != "boost":
            errors["about"] = "Only a single product can be pinned or hidden. A category or brand can be boosted."
        number = self._number(errors)
        until = self._end(errors)
        if self.act not in ACTS:
            errors["act"] = "Choose one of these."
        if errors:
            raise RuleError(errors)
        kinds = {"pin": "pins", "boost": "boosts"}
        where = None if self.act == "hide-everywhere" else placement
        return Rule(kinds.get(self.act, "hides"), where, kind, subject, number, until)  # type: ignore[arg-type]

    def _number(self, errors: dict[str, str]) -> float | None:
        if self.act == "pin":
            if _PLACE.fullmatch(self.place):
                return float(self.place)
            errors["place"] = "A place is a whole number from 1."
        if self.act == "boost":
            if _FACTOR.fullmatch(self.factor):
                return float(self.factor.replace(",", "."))
            errors["factor"] = "A factor is a number: 2 doubles the scores, 0.5 halves them."
        return None

    def _end(self, errors: dict[str, str]) -> str | None:
        if not self.until:
            return None
        try:
            moment = datetime.fromisoformat(self.until)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is not None:
            errors["until"] = "Write day and time in UTC, such as 2026-12-24T23:00, or leave it empty."
            return None
        return f"{moment:%Y-%m-%dT%H:%M:%S}Z"
