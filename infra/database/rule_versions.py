"""Reads and adds versions of operators' rules."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.serving_schema import operator_rules
from models.lists.rules.layer.rule_layer import NO_VERSION, RuleLayer, RuleVersion, layer_from_json, layer_to_json

_COLUMNS: Final = tuple(
    operator_rules.c[name] for name in ("version", "rules", "author", "comment", "created_at", "restores")
)


def current_rules(connection: Connection) -> RuleVersion:
    """Return the version that counts; version 0 without any."""
    newest = select(*_COLUMNS).order_by(operator_rules.c.version.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return NO_VERSION if row is None else version_of(row)


def rule_versions(connection: Connection, most: int, offset: int, most_rules: int) -> list[RuleVersion]:
    """Return the newest versions after the first `offset`, the latest first: at least one, then while rules fit."""
    newest = operator_rules.c.version.desc()
    page = select(*_COLUMNS, _number_of_rules().label("rules_of_one")).order_by(newest).limit(most).offset(offset)
    part = page.subquery()
    before = func.sum(part.c.rules_of_one).over(order_by=part.c.version.desc()) - part.c.rules_of_one
    counted = select(part, before.label("before")).subquery()
    fitting = (counted.c.before == 0) | (counted.c.before + counted.c.rules_of_one <= most_rules)
    rows = connection.execute(select(counted).where(fitting).order_by(counted.c.version.desc()))
    return [version_of(row) for row in rows.mappings()]


def rule_version(connection: Connection, version: int) -> RuleVersion | None:
    """Return one version; None if there is none of that number. Version 0 has no rules."""
    if version == 0:
        return NO_VERSION
    row = connection.execute(select(*_COLUMNS).where(operator_rules.c.version == version)).mappings().first()
    return None if row is None else version_of(row)


def add_version(
    connection: Connection,
    before: int,
    layer: RuleLayer,
    author: str,
    comment: str,
    key_id: str,
    restores: int | None = None,
) -> RuleVersion | None:
    """Add the version after `before`; None if `before` is not the current one, also if another was added meanwhile."""
    known = connection.execute(select(func.coalesce(func.max(operator_rules.c.version), 0))).scalar_one()
    if known != before:
        return None
    values = {"version": before + 1, "rules": layer_to_json(layer), "author": author, "comment": comment}
    added = insert(operator_rules).values(**values, key_id=key_id, restores=restores).on_conflict_do_nothing()
    row = connection.execute(added.returning(operator_rules.c.created_at)).first()
    return None if row is None else RuleVersion(before + 1, layer, author, comment, row.created_at, restores)


def _number_of_rules() -> ColumnElement[int]:
    kinds = (operator_rules.c.rules[kind] for kind in ("pins", "hides", "boosts"))
    pins, hides, boosts = (func.coalesce(func.jsonb_array_length(kind), 0) for kind in kinds)
    return pins + hides + boosts


def version_of(row: Any) -> RuleVersion:
    """Return the version in a row of the table."""
    return RuleVersion(
        row["version"], layer_from_json(row["rules"]), row["author"], row["comment"], row["created_at"], row["restores"]
    )
