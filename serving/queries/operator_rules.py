"""Reads the rules of operators for commands: those that concern an item, and those that the file contradicts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, RowMapping, select, true

from infra.database.engine import database_now
from infra.database.rule_versions import current_rules
from infra.database.schema.offers import sold_now
from infra.database.schema.promotion_rows import newest_promotion
from infra.database.schema.schema import items, placements, recommendation_batches
from models.errors import TailorbirdError
from models.lists.rules.compiled_rules import ItemAttributes
from models.lists.rules.layer.rule_layer import NO_RULES, AnyRule, RuleLayer, RuleVersion, layer_from_json, words
from models.lists.rules.layer.validation import Conflict, conflicts
from models.lists.rules.placement_config import Placement

_UNKNOWN: Final = MappingProxyType(dict.fromkeys(("category", "brand", "price", "available")))


class PlacementRules(NamedTuple):
    """The rules of operators of one placement: when its lists were made, and now."""

    then: RuleLayer = NO_RULES
    now: RuleLayer = NO_RULES

    def about(self, item: ItemAttributes, placement: str) -> list[str]:
        """Return a sentence for each rule about a single item, with its author."""
        then, now = list(_about(self.then, item)), list(_about(self.now, item))
        both = [f"{_capital(words(rule))}." for rule in now if rule in then]
        ended = [f"{_capital(words(rule))}; it counted when the list was made." for rule in then if rule not in now]
        added = [
            f"{_capital(words(rule))}; the API's answers follow it, and the published list is older. "
            f"Next: `tailorbird score {placement}`."
            for rule in now
            if rule not in then
        ]
        return [*both, *ended, *added]


def rules_of(connection: Connection, placement: str) -> PlacementRules:
    """Return the rules of a placement with lists."""
    live = select(placements.c.batch_id).where(placements.c.placement == placement).scalar_subquery()
    made = select(recommendation_batches.c.operator_rules).where(recommendation_batches.c.batch_id == live)
    now = current_rules(connection).layer.at(placement, database_now(connection))
    return PlacementRules(layer_from_json(connection.execute(made).scalar() or {}), now)


class Layer(NamedTuple):
    """The current version, its rules with a sentence for each, and their conflicts with the file and the champion."""

    version: RuleVersion
    rules: list[tuple[AnyRule, str]]
    conflicts: list[Conflict]
    unchecked: str = ""
    """Why the rules were not compared with the champion."""


def layer_over(engine: Engine, file: Mapping[str, Placement]) -> Layer:
    """Return the layer over a placements file; rules that have ended are marked."""
    with engine.connect() as connection:
        current, now = current_rules(connection), database_now(connection)
        counting = current.layer.counting(now)
        rows = catalogue_rows(connection, counting.items)
    stated = [(rule, f"{words(rule)}{' (ended)' if rule.ended(now) else ''}") for rule in current.layer]
    learned, unchecked = _learned(engine) if counting.pins else (None, "")
    return Layer(current, stated, conflicts(file, counting, attributes(sorted(rows), rows), learned), unchecked)


def _learned(engine: Engine) -> tuple[NDArray[np.str_] | None, str]:
    """Return the items of the champion; None without one, and if it cannot be opened here, with the reason."""
    from infra.bundles.promoted import load_promoted  # only pins need the models, whose import takes a moment

    with engine.connect() as connection:
        champion = newest_promotion(connection)
    try:
        return (load_promoted(champion, frozenset()).model.items if champion else None), ""
    except TailorbirdError as error:
        return None, str(error)


def catalogue_rows(connection: Connection, names: Collection[str] | None = None) -> dict[str, RowMapping]:
    """Return the rows of these items, or of all, as far as the catalogue has them."""
    columns = (items.c.item_id, items.c.category, items.c.brand, items.c.price, sold_now().label("available"))
    chosen = true() if names is None else items.c.item_id.in_(names)
    return {row["item_id"]: row for row in connection.execute(select(*columns).where(chosen)).mappings()}


def attributes(names: Sequence[str], rows: Mapping[str, Mapping[Any, Any]]) -> ItemAttributes:
    """Return the attributes in rows of the catalogue; ages are not known, and items without a row are not available."""
    own = [rows.get(name, _UNKNOWN) for name in names]
    return ItemAttributes(
        items=np.array(names, dtype=np.str_),
        category=np.array([row["category"] or "" for row in own], dtype=np.str_),
        brand=np.array([row["brand"] or "" for row in own], dtype=np.str_),
        price=np.array([row["price"] for row in own], dtype=np.float64),  # None becomes NaN
        age_days=np.full(len(own), np.nan),
        available=np.array([bool(row["available"]) for row in own], dtype=np.bool_),
    )


def _about(layer: RuleLayer, item: ItemAttributes) -> Iterator[AnyRule]:
    name = str(item.items[0])
    yield from (pin for pin in layer.pins if pin.item == name)
    yield from (hide for hide in layer.hides if hide.item == name)
    yield from (boost for boost in layer.boosts if item.selected(boost.compiled)[0])


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
