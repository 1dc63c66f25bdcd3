"""A stored version of the layer, how it follows from the version before, and its form in the database."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from models.lists.rules.layer.rule_layer import NO_RULES, HiddenItem, ItemBoost, OperatorRule, PinnedItem, RuleLayer
from models.primitives.json_types import JsonObject

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


def layer_to_json(layer: RuleLayer) -> JsonObject:
    """Return the layer as JSON."""
    return {"pins": _written(layer.pins), "hides": _written(layer.hides), "boosts": _written(layer.boosts)}


def layer_from_json(content: JsonObject) -> RuleLayer:
    """Return the layer of its JSON; absent kinds of rules are empty."""
    return RuleLayer(
        tuple(PinnedItem(**_read(rule)) for rule in content.get("pins", ())),
        tuple(HiddenItem(**_read(rule)) for rule in content.get("hides", ())),
        tuple(ItemBoost(**_read(rule)) for rule in content.get("boosts", ())),
    )


def _written(rules: Sequence[OperatorRule]) -> list[JsonObject]:
    return [{name: _plain(value) for name, value in asdict(rule).items() if value is not None} for rule in rules]


def _plain(value: object) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(rule: object) -> dict[str, Any]:
    fields = dict(cast(JsonObject, rule))
    moments = {name: datetime.fromisoformat(str(fields[name])) for name in ("until", "since") if name in fields}
    return fields | moments
