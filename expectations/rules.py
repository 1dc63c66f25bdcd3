"""Defines row rules. Each has one id for an expression that finds rows and an expectation that counts them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw

from expectations.great_expectations_library import expectation_classes, great_expectations
from models.ingest.tabular.unreadable_cells import KEYS


@dataclass(frozen=True)
class RowRule:
    """A row for which `violated` is true goes to quarantine under `id`."""

    id: str
    meaning: str
    violated: nw.Expr
    expectation: Callable[..., Any]
    """Makes the Great Expectations twin from `mostly` and `meta`; called late, because the import takes seconds."""
    mostly: float = 0.9
    """The share of rows that must keep the rule; below it the batch as a whole is refused."""
    column: str = ""
    """The column that the rule checks."""


def flags(rows: Any, rules: Sequence[RowRule]) -> Any:
    """Return one boolean column per rule, true if a row of `rows` (any eager frame) breaks it; nulls break no rule."""
    return (
        nw.from_native(rows, eager_only=True)
        .select(rule.violated.fill_null(False).alias(rule.id) for rule in rules)
        .to_native()
    )


def violation_shares(rows: Any, rules: Sequence[RowRule]) -> dict[str, float]:
    """Return by rule the share of rows that break it, as its expectation counts it: nulls that keep it do not count."""
    frame = nw.from_native(rows, eager_only=True)
    counts = frame.select(
        count.alias(f"{rule.id} {name}")
        for rule in rules
        for name, count in {
            "broken": rule.violated.fill_null(False).cast(nw.Int64).sum(),
            "of": (rule.violated.fill_null(False) | ~nw.col(rule.column).is_null()).cast(nw.Int64).sum(),
        }.items()
    )
    row = counts.row(0)
    return {rule.id: (row[2 * i] or 0) / (row[2 * i + 1] or 1) for i, rule in enumerate(rules)}


def row_suite(name: str, rules: Sequence[RowRule]) -> Any:
    """Return the suite for a sample of rows."""
    made = [rule.expectation(mostly=rule.mostly, meta={"rule_id": rule.id}) for rule in rules]
    return great_expectations().ExpectationSuite(name=name, expectations=made)


def missing(column: str, meaning: str) -> RowRule:
    """Return the rule that a column is not null."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToNotBeNull(column=column, **options)

    return RowRule(f"{column}_missing", meaning, nw.col(column).is_null(), twin, column=column)


def outside(
    rule_id: str,
    meaning: str,
    column: str,
    low: float | None,
    high: float | None,
    *,
    strict_low: bool = False,
) -> RowRule:
    """Return the rule that a number is between `low` and `high`; `strict_low` excludes `low` itself."""
    value, never = nw.col(column), nw.lit(False)
    below = never if low is None else (value <= low if strict_low else value < low)
    above = never if high is None else value > high

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, strict_min=strict_low, **options
        )

    return RowRule(rule_id, meaning, below | above, twin, column=column)


def not_in_set(rule_id: str, meaning: str, column: str, allowed: Sequence[object]) -> RowRule:
    """Return the rule that a value is one of `allowed`."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToBeInSet(column=column, value_set=list(allowed), **options)

    value = nw.col(column)
    return RowRule(rule_id, meaning, ~value.is_in(list(allowed)) & ~value.is_null(), twin, column=column)


def in_set(rule_id: str, meaning: str, column: str, refused: Sequence[object]) -> RowRule:
    """Return the rule that a value is none of `refused`."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToNotBeInSet(column=column, value_set=list(refused), **options)

    value = nw.col(column)
    # Arrow cannot tell the type of an empty list.
    violated = value.is_in(list(refused)) if refused else value.is_null() & nw.lit(False)
    return RowRule(rule_id, meaning, violated, twin, column=column)


def not_stated(column: str, meaning: str) -> RowRule:
    """Return the rule that a number or a time is not null. An unreadable cell is not missing."""

    def twin(**options: Any) -> Any:
        gxe = expectation_classes()
        readable = gxe.row_conditions.Column(KEYS).is_null()
        return gxe.ExpectColumnValuesToNotBeNull(column=column, row_condition=readable, **options)

    violated = nw.col(column).is_null() & nw.col(KEYS).is_null()
    return RowRule(f"{column}_missing", meaning, violated, twin, column=column)


def unreadable(key: str) -> RowRule:
    """Return the rule that a key's cell can be read. Only the share of all bad rows refuses a batch."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToNotMatchRegex(column=KEYS, regex=rf"\|{key}\|", **options)

    violated = nw.col(KEYS).cast(nw.String).str.contains(f"|{key}|", literal=True)
    return RowRule(
        f"{key}_unreadable", f"the value of `{key}` cannot be read as the mapping says", violated, twin, 0.0, KEYS
    )


def longer(column: str, limit: int) -> RowRule:
    """Return the rule that a text has at most `limit` characters."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValueLengthsToBeBetween(column=column, max_value=limit, **options)

    meaning = f"an id of more than {limit} characters"
    return RowRule(f"{column}_too_long", meaning, nw.col(column).str.len_chars() > limit, twin, column=column)


def marked(rule_id: str, meaning: str, column: str) -> RowRule:
    """Return the rule that a mark is not set. No number of marked rows refuses a batch."""
    return replace(not_in_set(rule_id, meaning, column, [False]), mostly=0.0)
