"""A change of the rules that is not stored yet. Forms carry it along in a signed field."""

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from typing import Final

from serving.shop.operators.rules import KINDS, Rule
from serving.shop.security.signing import opened, sealed

MOST_CHANGES: Final = 40
"""More would make forms too large. A draft of this size can be saved, and another begun."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person changed since a version of the rules."""

    base: int
    """The version that the person saw last."""
    added: tuple[Rule, ...] = ()
    removed: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is changed."""
        return bool(self.added or self.removed)

    @property
    def is_full(self) -> bool:
        """Return whether another change has no place."""
        return len(self.added) + len(self.removed) >= MOST_CHANGES

    def applied(self, rules: Iterable[Rule]) -> tuple[Rule, ...]:
        """Return the rules with the changes, in the order of the API."""
        kept = [rule for rule in rules if rule not in self.removed]
        kept += [rule for rule in self.added if rule not in kept]
        return tuple(sorted(kept, key=lambda rule: KINDS.index(rule.kind)))

    def adding(self, rule: Rule) -> "Draft":
        """Return the draft with one more rule; a removed one comes back."""
        if rule in self.removed:
            return replace(self, removed=tuple(one for one in self.removed if one != rule))
        return self if rule in self.added else replace(self, added=(*self.added, rule))

    def removing(self, rule: Rule) -> "Draft":
        """Return the draft without a rule of the current version."""
        return self if rule in self.removed else replace(self, removed=(*self.removed, rule))

    def without(self, key: str) -> "Draft":
        """Return the draft without one of its changes."""
        added, removed = (tuple(one for one in side if one.key != key) for side in (self.added, self.removed))
        return replace(self, added=added, removed=removed)

    def written(self, secret: bytes) -> str:
        """Return the signed field."""
        rows = [self.base, *map(_rows, (self.added, self.removed))]
        return sealed(secret, json.dumps(rows, ensure_ascii=False).encode())


def _rows(rules: tuple[Rule, ...]) -> list[tuple[object, ...]]:
    return [astuple(rule) for rule in rules]


def read_draft(secret: bytes, text: str) -> Draft | None:
    """Return the draft of a field; None if it is not ours."""
    content = opened(secret, text)
    if content is None:
        return None
    base, added, removed = json.loads(content)
    return Draft(base, tuple(Rule(*row) for row in added), tuple(Rule(*row) for row in removed))
