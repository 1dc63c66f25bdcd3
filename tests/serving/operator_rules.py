"""Stores rules of operators for tests."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from infra.database.rule_versions import add_version, current_rules
from models.lists.rules.layer.rule_layer import (
    NO_RULES,
    AnyRule,
    HiddenItem,
    ItemBoost,
    PinnedItem,
    RuleLayer,
    attributed,
)

SINCE = datetime(2026, 11, 29, tzinfo=UTC)


def layer_of(*rules: AnyRule) -> RuleLayer:
    """Return a layer of Ann's rules."""
    layer = RuleLayer(
        tuple(rule for rule in rules if isinstance(rule, PinnedItem)),
        tuple(rule for rule in rules if isinstance(rule, HiddenItem)),
        tuple(rule for rule in rules if isinstance(rule, ItemBoost)),
    )
    return attributed(layer, NO_RULES, "ann", SINCE)


def store(engine: Engine, *rules: AnyRule) -> int:
    """Store a version with these rules; return its number."""
    with engine.begin() as connection:
        before = current_rules(connection).version
        stored = add_version(connection, before, layer_of(*rules), "ann", "a test", "key")
    assert stored is not None
    return stored.version


def pin(item: str, place: int = 1, placement: str = "home") -> PinnedItem:
    return PinnedItem(placement=placement, item=item, place=place)


def boost(item: str, factor: float, placement: str = "home") -> ItemBoost:
    return ItemBoost(placement=placement, kind="item", value=item, factor=factor)
