"""Rules of operators in plain words, as forms state them, and in drafts that are not stored yet."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Final

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.layer.rule_layer import (
    BOOST_KINDS,
    AnyRule,
    HiddenItem,
    ItemBoost,
    PinnedItem,
    RuleLayer,
    RuleVersion,
    layer_from_json,
    layer_to_json,
)
from serving.api.requests.values import checked_id
from serving.http.safe_pages import opened, sealed
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
    except ValueError as error:
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


MOST_CHANGES: Final = 40
"""More would make forms too large. A draft of this size can be saved, and another begun."""
_POINTER: Final = re.compile(r"/(pins|hides|boosts)/(\d+)")


def key(rule: AnyRule) -> str:
    """Return a text that only equal rules share."""
    return repr(_unsigned(rule))


def item_of(rule: AnyRule) -> str | None:
    """Return the item that a rule is about; None for a category or a brand."""
    if isinstance(rule, ItemBoost):
        return rule.value if rule.kind == "item" else None
    return rule.item


def words(rule: AnyRule, titles: Mapping[str, str]) -> str:
    """Return a rule in plain words, with the titles of items as far as they are known."""
    end = f" until {moment(rule.until)}" if rule.until else ""
    item = item_of(rule)
    if item is None:
        name = f"{rule.kind} {rule.value}" if isinstance(rule, ItemBoost) else ""
    else:
        name = f"“{titles[item]}” (item {item})" if item in titles else f"item {item}"
    if isinstance(rule, PinnedItem):
        return f"Pin {name} to place {rule.place}{end}"
    if isinstance(rule, HiddenItem):
        return f"Hide {name} {'in this placement' if rule.placement else 'in all placements'}{end}"
    return f"Multiply the scores of {name} by {rule.factor:g}{end}"


def moment(when: datetime) -> str:
    """Return a moment such as `29 Nov 2026, 10:00 UTC`."""
    return f"{when.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def rule_at(layer: RuleLayer, pointer: str) -> AnyRule | None:
    """Return the rule that a fault points to; None if it points to no rule."""
    found = _POINTER.search(pointer)
    return None if found is None else _numbered(layer, found)


def with_words(layer: RuleLayer, detail: str, titles: Mapping[str, str]) -> str:
    """Return the sentence of a fault with rules in words in place of pointers."""

    def named(found: re.Match[str]) -> str:
        rule = _numbered(layer, found)
        return found[0] if rule is None else f"The rule “{words(rule, titles)}”"

    return _POINTER.sub(named, detail)


def _numbered(layer: RuleLayer, found: re.Match[str]) -> AnyRule | None:
    rules, at = layer.by_kind()[found[1]], int(found[2])
    return rules[at] if at < len(rules) else None


def layer_of(rules: Iterable[AnyRule]) -> RuleLayer:
    """Return a layer of these rules."""
    known = list(rules)
    return RuleLayer(
        tuple(rule for rule in known if isinstance(rule, PinnedItem)),
        tuple(rule for rule in known if isinstance(rule, HiddenItem)),
        tuple(rule for rule in known if isinstance(rule, ItemBoost)),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """A version, and what it changed."""

    version: RuleVersion
    added: list[AnyRule]
    removed: list[AnyRule]

    @classmethod
    def between(cls, before: RuleVersion, after: RuleVersion) -> "Change":
        """Return the rules that were added and removed between two versions."""
        earlier, later = set(before.layer), set(after.layer)
        added = [rule for rule in after.layer if rule not in earlier]
        return cls(after, added, [rule for rule in before.layer if rule not in later])


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person changed since a version of the rules."""

    base: int
    """The version that the person saw last."""
    added: tuple[AnyRule, ...] = ()
    removed: tuple[AnyRule, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is changed."""
        return bool(self.added or self.removed)

    @property
    def is_full(self) -> bool:
        """Return whether another change has no place."""
        return len(self.added) + len(self.removed) >= MOST_CHANGES

    def applied(self, layer: RuleLayer) -> RuleLayer:
        """Return the layer with the changes."""
        kept = [rule for rule in layer if rule not in self.removed]
        return layer_of([*kept, *(rule for rule in self.added if rule not in kept)])

    def adding(self, rule: AnyRule) -> "Draft":
        """Return the draft with one more rule; a removed one comes back."""
        if rule in self.removed:
            return replace(self, removed=tuple(one for one in self.removed if one != rule))
        return self if rule in self.added else replace(self, added=(*self.added, rule))

    def removing(self, rule: AnyRule) -> "Draft":
        """Return the draft without a rule of the current version."""
        return self if rule in self.removed else replace(self, removed=(*self.removed, rule))

    @property
    def moved(self) -> dict[str, int]:
        """The earlier places of items whose pins have another place now."""
        pinned = {rule.item for rule in self.added if isinstance(rule, PinnedItem)}
        return {rule.item: rule.place for rule in self.removed if isinstance(rule, PinnedItem) and rule.item in pinned}

    def moving(self, pin: PinnedItem, place: int, pins: Iterable[PinnedItem]) -> "Draft":
        """Return the draft with another place for a pin; of these pins, the one of that place takes the old place."""
        draft = self
        for other in pins:
            if (other.placement, other.place) == (pin.placement, place):
                draft = draft._changing(other, replace(other, place=pin.place))
        return draft._changing(pin, replace(pin, place=place))

    def _changing(self, old: PinnedItem, new: PinnedItem) -> "Draft":
        added = tuple(one for one in self.added if one != old)
        return (self.removing(old) if added == self.added else replace(self, added=added)).adding(new)

    def without(self, name: str) -> "Draft":
        """Return the draft without one of its changes; a pin that was moved returns to its place."""
        moved = {rule.item for rule in self.added if isinstance(rule, PinnedItem) and key(rule) == name}
        added, removed = (tuple(one for one in side if key(one) != name) for side in (self.added, self.removed))
        kept = (one for one in removed if not (isinstance(one, PinnedItem) and one.item in moved))
        return replace(self, added=added, removed=tuple(kept))

    def written(self, secret: bytes) -> str:
        """Return the signed field."""
        sides = (layer_to_json(layer_of(map(_unsigned, side))) for side in (self.added, self.removed))
        return sealed(secret, json.dumps([self.base, *sides], ensure_ascii=False).encode())


def _unsigned(rule: AnyRule) -> AnyRule:
    return replace(rule, author="", since=None)


def read_draft(secret: bytes, text: str) -> Draft | None:
    """Return the draft of a field; None if it is not ours."""
    content = opened(secret, text)
    if content is None:
        return None
    base, added, removed = json.loads(content)
    return Draft(base, tuple(layer_from_json(added)), tuple(layer_from_json(removed)))
