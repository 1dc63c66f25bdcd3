"""A stored version of the layer, and how it follows from the version before."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from models.lists.rules.layer.rule_layer import NO_RULES, OperatorRule, RuleLayer

Rule = TypeVar("Rule", bound=OperatorRule)


@dataclass(frozen=True)
class RuleVersion:
    """One version of the rules of operators, with its author."""

    version: int
    """From 1; 0 stands for no version at all."""
    layer: RuleLayer
    author: str
    comment: str
    created_at: datetime
    restores: int | None = None
    """The earlier version that an undo made current again."""


NO_VERSION = RuleVersion(0, NO_RULES, "", "", datetime.fromtimestamp(0, UTC))


def attributed(layer: RuleLayer, before: RuleLayer, author: str, now: datetime) -> RuleLayer:
    """Return the layer with authors and times: of the version before for rules that it has, else these."""

    def signed(rules: tuple[Rule, ...], known: tuple[Rule, ...]) -> tuple[Rule, ...]:
        earlier = {rule: rule for rule in known}
        return tuple(earlier.get(rule) or replace(rule, author=author, since=now) for rule in rules)

    return RuleLayer(
        signed(layer.pins, before.pins), signed(layer.hides, before.hides), signed(layer.boosts, before.boosts)
    )
