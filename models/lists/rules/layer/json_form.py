"""Reads and writes layers as JSON, the form in which the database stores them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

from models.lists.rules.layer.rule_layer import HiddenItem, ItemBoost, OperatorRule, PinnedItem, RuleLayer
from models.primitives.json_types import JsonObject


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
