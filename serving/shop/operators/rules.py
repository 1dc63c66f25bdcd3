"""Rules of operators as the API states them, and in plain words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from serving.shop.pages.moments import moment

Kind = Literal["pins", "hides", "boosts"]
About = Literal["item", "category", "brand"]
KINDS: Final[tuple[Kind, ...]] = ("pins", "hides", "boosts")
_POINTER: Final = re.compile(r"/(pins|hides|boosts)/(\d+)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Author and time do not make two rules different."""

    kind: Kind
    placement: str | None
    """None: in all placements, which only hidden items can be."""
    about: About
    subject: str
    """The item, the path of the category, or the brand."""
    number: float | None = None
    """The place of a pin, or the factor of a boost."""
    until: str | None = None
    author: str = field(default="", compare=False)
    since: str | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """Return a text that only equal rules share."""
        return repr((self.kind, self.placement, self.about, self.subject, self.number, self.until))

    def body(self) -> dict[str, Any]:
        """Return the rule as the API takes it."""
        end = {"until": self.until}
        if self.kind == "pins":
            return {"placement": self.placement, "item": self.subject, "place": int(self.number or 0), **end}
        if self.kind == "hides":
            return {"placement": self.placement, "item": self.subject, **end}
        return {"placement": self.placement, "kind": self.about, "value": self.subject, "factor": self.number, **end}

    def words(self, titles: Mapping[str, str]) -> str:
        """Return the rule in plain words."""
        end = "" if self.until is None else f" until {moment(self.until)}"
        return f"{self._stated(titles)}{end}"

    def _stated(self, titles: Mapping[str, str]) -> str:
        title = titles.get(self.subject) if self.about == "item" else None
        name = f"{self.about} {self.subject}" if title is None else f"“{title}” (item {self.subject})"
        if self.kind == "pins":
            return f"Pin {name} to place {self.number:g}"
        if self.kind == "hides":
            return f"Hide {name} {'in all placements' if self.placement is None else 'in this placement'}"
        return f"Multiply the scores of {name} by {self.number:g}"


def rules_of(stated: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules of an answer, in the order of the API."""
    return tuple(_rule(kind, one) for kind in KINDS for one in stated[kind])


def _rule(kind: Kind, one: Mapping[str, Any]) -> Rule:
    common = one["placement"], one.get("kind", "item"), one.get("item") or one["value"]
    number = one.get("place", one.get("factor"))
    signed = one.get("author") or "", one.get("since")
    return Rule(kind, *common, None if number is None else float(number), one.get("until"), *signed)


def layer_body(rules: Iterable[Rule]) -> dict[str, list[dict[str, Any]]]:
    """Return all rules as the API takes them."""
    layer: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for rule in rules:
        layer[rule.kind].append(rule.body())
    return layer


def rule_at(rules: Sequence[Rule], pointer: str) -> Rule | None:
    """Return the rule that a fault of the API points to; None if it points to no rule."""
    found = _POINTER.search(pointer)
    return None if found is None else _numbered(rules, found)


def with_words(rules: Sequence[Rule], detail: str, titles: Mapping[str, str]) -> str:
    """Return the sentence of a fault with rules in words in place of pointers."""

    def named(found: re.Match[str]) -> str:
        rule = _numbered(rules, found)
        return found[0] if rule is None else f"The rule “{rule.words(titles)}”"

    return _POINTER.sub(named, detail)


def _numbered(rules: Sequence[Rule], found: re.Match[str]) -> Rule | None:
    own = [rule for rule in rules if rule.kind == found[1]]
    return own[int(found[2])] if int(found[2]) < len(own) else None
