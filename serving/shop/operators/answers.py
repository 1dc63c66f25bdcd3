"""Answers of the API about rules and previews."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from serving.shop.operators.rules import Rule, rule_at, rules_of


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the rules."""

    version: int
    author: str
    comment: str
    created_at: str | None
    restores: int | None
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> Self:
        """Return the version of an answer."""
        signed = one["author"], one["comment"], one["created_at"], one["restores"]
        return cls(one["version"], *signed, rules_of(one["rules"]))


NO_RULES: Final = Version(0, "", "", None, None, ())


@dataclass(frozen=True, slots=True)
class Change:
    """A version, and what it changed."""

    version: Version
    added: tuple[Rule, ...]
    removed: tuple[Rule, ...]


def change(before: Version, after: Version) -> Change:
    """Return the rules that were added and removed between two versions."""
    added = tuple(rule for rule in after.rules if rule not in before.rules)
    return Change(after, added, tuple(rule for rule in before.rules if rule not in after.rules))


@dataclass(frozen=True, slots=True)
class Conflict:
    """A rule that the placements file contradicts, or that has no effect."""

    placement: str
    detail: str
    rule: Rule | None
    """None for a conflict of several rules."""


@dataclass(frozen=True, slots=True)
class StoredRules:
    """The current version, its conflicts, and a page of all versions, the latest first."""

    current: Version
    conflicts: tuple[Conflict, ...]
    versions: tuple[Version, ...]

    @property
    def is_last(self) -> bool:
        """Return whether there is no version before those of the page."""
        return not self.versions or self.versions[-1].version == 1

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """Return the rules of an answer."""
        versions = tuple(Version.of(one) for one in answer["versions"])
        current = Version.of(answer["current"])
        return cls(current, conflicts_of(answer, current.rules), versions)

    def version(self, number: int) -> Version | None:
        """Return a version; None if it is on no page that was read."""
        return NO_RULES if number == 0 else next((one for one in self.versions if one.version == number), None)


def conflicts_of(answer: Mapping[str, Any], rules: Sequence[Rule]) -> tuple[Conflict, ...]:
    """Return the conflicts of an answer about these rules."""
    return tuple(
        Conflict(one["placement"], one["detail"], rule_at(rules, one["rule"] or "")) for one in answer["conflicts"]
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a previewed list."""

    item_id: str
    title: str
    reason: str
    rank: int
    change: str = ""
    """What the draft changes about it, in words."""


@dataclass(frozen=True, slots=True)
class PreviewedList:
    """The list that a visitor would get."""

    source: str
    degraded: bool
    batch_id: int | None
    items: tuple[Listed, ...]

    @classmethod
    def of(cls, one: Mapping[str, Any]) -> Self:
        """Return the list of an answer."""
        items = tuple(
            Listed(item["item_id"], item.get("title") or item["item_id"], item.get("reason") or "", item["rank"])
            for item in one["items"]
        )
        return cls(one["source"], one["degraded"], one["batch_id"], items)


@dataclass(frozen=True, slots=True)
class Preview:
    """A list under the current rules, and under the draft; None without a draft."""

    current: PreviewedList
    edited: PreviewedList | None
    conflicts: tuple[Conflict, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any], rules: Sequence[Rule]) -> Self:
        """Return the preview of an answer about these rules, with what changed marked."""
        current, edited = PreviewedList.of(answer["current"]), None
        if answer["edited"] is not None:
            current, edited = marked(current, PreviewedList.of(answer["edited"]))
        return cls(current, edited, conflicts_of(answer, rules))


def marked(current: PreviewedList, edited: PreviewedList) -> tuple[PreviewedList, PreviewedList]:
    """Return both lists with what the draft changes about each item."""
    before = {item.item_id: item.rank for item in current.items}
    kept = {item.item_id for item in edited.items}
    left = tuple(replace(item, change="" if item.item_id in kept else "left out") for item in current.items)
    moved = tuple(replace(item, change=_move(before.get(item.item_id), item.rank)) for item in edited.items)
    return replace(current, items=left), replace(edited, items=moved)


def _move(before: int | None, now: int) -> str:
    if before is None:
        return "new"
    if before == now:
        return ""
    return f"{'up' if now < before else 'down'} from {before}"
