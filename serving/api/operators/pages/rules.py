"""Rules of operators in plain words, and drafts: changes that are not stored yet, in a signed field of forms."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from models.lists.rules.layer.rule_layer import (
    AnyRule,
    HiddenItem,
    ItemBoost,
    PinnedItem,
    RuleLayer,
    RuleVersion,
    layer_from_json,
    layer_to_json,
)
from serving.http.safe_pages import opened, sealed

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

    def without(self, name: str) -> "Draft":
        """Return the draft without one of its changes."""
        added, removed = (tuple(one for one in side if key(one) != name) for side in (self.added, self.removed))
        return replace(self, added=added, removed=removed)

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
