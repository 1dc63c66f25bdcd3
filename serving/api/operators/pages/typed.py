"""What an operator typed into the forms of a placement, and the rule that it states."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.layer.rule_layer import BOOST_KINDS, AnyRule, HiddenItem, ItemBoost, PinnedItem
from serving.api.requests.ids import RefusedIdError, checked_id
from serving.stores.catalogue import Item

ACTS: Final[Mapping[str, str]] = {
    "pin": "Pin it to a place",
    "hide": "Hide it in this placement",
    "hide-everywhere": "Hide it in all placements",
    "boost": "Boost it, or show it less",
}
_FACTOR: Final = re.compile(r"[0-9]{1,9}([.,][0-9]{1,9})?")
_PLACE: Final = re.compile("[1-9][0-9]{0,2}|1000")


def choices(found: Iterable[Item]) -> list[tuple[str, str]]:
    """Return what rules can be about after a search, as value and label: products, then their categories and brands."""
    items = list(found)
    paths = [item.category.split(CATEGORY_SEPARATOR) for item in items if item.category]
    levels = (CATEGORY_SEPARATOR.join(path[:depth]) for path in paths for depth in range(1, len(path) + 1))
    brands = (item.brand for item in items if item.brand)
    return [
        *((f"item:{item.item_id}", f"{item.title or item.item_id} (item {item.item_id})") for item in items),
        *((f"category:{path}", f"All of the category {path.replace('|', ', ')}") for path in dict.fromkeys(levels)),
        *((f"brand:{brand}", f"All of the brand {brand}") for brand in dict.fromkeys(brands)),
    ]


def refusal(text: str) -> str:
    """Return why the server takes no such text; empty if it does."""
    try:
        checked_id(text)
    except RefusedIdError as error:
        return str(error).replace("The id", "The text").replace("An id", "A text")
    return ""


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

    def rule(self, placement: str) -> AnyRule:
        """Return the rule for a placement. Raises RuleError."""
        errors = dict[str, str]()
        about, _, subject = self.about.partition(":")
        kind = next((one for one in BOOST_KINDS if one == about), None)
        if kind is None or not subject:
            errors["about"] = "Choose a product first; search for it by words of its title."
        elif kind != "item" and self.act != "boost":
            errors["about"] = "Only a single product can be pinned or hidden. A category or brand can be boosted."
        if self.act == "pin" and not _PLACE.fullmatch(self.place):
            errors["place"] = "A place is a whole number from 1."
        if self.act == "boost" and not _FACTOR.fullmatch(self.factor):
            errors["factor"] = "A factor is a number: 2 doubles the scores, 0.5 halves them."
        until = self._end(errors)
        if self.act not in ACTS:
            errors["act"] = "Choose one of these."
        if errors or kind is None:
            raise RuleError(errors)
        if self.act == "pin":
            return PinnedItem(placement=placement, item=subject, place=int(self.place), until=until)
        if self.act == "boost":
            factor = float(self.factor.replace(",", "."))
            return ItemBoost(placement=placement, kind=kind, value=subject, factor=factor, until=until)
        return HiddenItem(placement=placement if self.act == "hide" else None, item=subject, until=until)

    def _end(self, errors: dict[str, str]) -> datetime | None:
        if not self.until:
            return None
        try:
            moment = datetime.fromisoformat(self.until)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is not None:
            errors["until"] = "Write day and time in UTC, such as 2026-12-24T23:00, or leave it empty."
            return None
        return moment.replace(microsecond=0, tzinfo=UTC)
