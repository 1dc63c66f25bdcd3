"""A row rule is said twice under one id: as an expression that routes rows, and as the expectation that counts them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw

from expectations.great_expectations_library import expectation_classes, great_expectations
from models.ingest.tabular.unreadable_cells import KEYS


@dataclass(frozen=True)
class RowRule:
    """A row for which `broken` is true goes to quarantine under `id`."""

    id: str
    meaning: str
    broken: nw.Expr
    expectation: Callable[..., Any]
    """Makes the Great Expectations twin from `mostly` and `meta`; made late, since the import takes seconds."""
    mostly: float = 0.9
    """Share of the rows that must keep the rule; below it the batch as a whole is refused."""
    column: str = ""
    """The column that the rule looks at."""


def flags(rows: Any, rules: Sequence[RowRule]) -> Any:
    """One boolean column per rule, true where a row of `rows` (any eager frame) breaks it; nulls break nothing."""
    return (
        nw.from_native(rows, eager_only=True)
        .select(rule.broken.fill_null(False).alias(rule.id) for rule in rules)
        .to_native()
    )


def broken_shares(rows: Any, rules: Sequence[RowRule]) -> dict[str, float]:
    """Return by rule the share of rows that break it, as its expectation counts it: nulls that keep it are left out."""
    frame = nw.from_native(rows, eager_only=True)
    counts = frame.select(
        count.alias(f"{rule.id} {name}")
        for rule in rules
        for name, count in {
            "broken": rule.broken.fill_null(False).cast(nw.Int64).sum(),
            "of": (rule.broken.fill_null(False) | ~nw.col(rule.column).is_null()).cast(nw.Int64).sum(),
        }.items()
    )
    found = counts.row(0)
    return {rule.id: (found[2 * i] or 0) / (found[2 * i + 1] or 1) for i, rule in enumerate(rules)}


def row_suite(name: str, rules: Sequence[RowRule]) -> Any:
    """The suite for a sample of rows."""
    made = [rule.expectation(mostly=rule.mostly, meta={"rule_id": rule.id}) for rule in rules]
    return great_expectations().ExpectationSuite(name=name, expectations=made)


def missing(column: str, meaning: str) -> RowRule:
    """The rule that a column is neither null nor empty."""

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
    """The rule that a number lies between `low` and `high`; `strict_low` leaves `low` itself out."""
    value, never = nw.col(column), nw.lit(False)
    below = never if low is None else (value <= low if strict_low else value < low)
    above = never if high is None else value > high

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, strict_min=strict_low, **options
        )

    return RowRule(rule_id, meaning, below | above, twin, column=column)


def not_in_set(rule_id: str, meaning: str, column: str, allowed: Sequence[Any]) -> RowRule:
    """The rule that a value is one of `allowed`."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToBeInSet(column=column, value_set=list(allowed), **options)

    value = nw.col(column)
    return RowRule(rule_id, meaning, ~value.is_in(list(allowed)) & ~value.is_null(), twin, column=column)


def in_set(rule_id: str, meaning: str, column: str, refused: Sequence[Any]) -> RowRule:
    """The rule that a value is none of `refused`."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToNotBeInSet(column=column, value_set=list(refused), **options)

    value = nw.col(column)
    # Arrow does not know what type an empty list is of.
    broken = value.is_in(list(refused)) if refused else value.is_null() & nw.lit(False)
    return RowRule(rule_id, meaning, broken, twin, column=column)


def not_stated(column: str, meaning: str) -> RowRule:
    """The rule that a column that is read as a number or a time is not null. What cannot be read is not missing."""

    def twin(**options: Any) -> Any:
        gxe = expectation_classes()
        readable = gxe.row_conditions.Column(KEYS).is_null()
        return gxe.ExpectColumnValuesToNotBeNull(column=column, row_condition=readable, **options)

    broken = nw.col(column).is_null() & nw.col(KEYS).is_null()
    return RowRule(f"{column}_missing", meaning, broken, twin, column=column)


def unreadable(key: str) -> RowRule:
    """The rule that the cell of a mapping's key can be read. The share of all bad rows decides about the batch."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValuesToNotMatchRegex(column=KEYS, regex=rf"\|{key}\|", **options)

    broken = nw.col(KEYS).cast(nw.String).str.contains(f"|{key}|", literal=True)
    return RowRule(
        f"{key}_unreadable", f"the value of `{key}` cannot be read as the mapping says", broken, twin, 0.0, KEYS
    )


def longer(column: str, limit: int) -> RowRule:
    """The rule that a text has at most `limit` characters."""

    def twin(**options: Any) -> Any:
        return expectation_classes().ExpectColumnValueLengthsToBeBetween(column=column, max_value=limit, **options)

    meaning = f"an id of more than {limit} characters"
    return RowRule(f"{column}_too_long", meaning, nw.col(column).str.len_chars() > limit, twin, column=column)


def marked(rule_id: str, meaning: str, column: str) -> RowRule:
    """The rule that a mark is not set. Such rows say nothing about the others, so no number of them refuses a batch."""
    return replace(not_in_set(rule_id, meaning, column, [False]), mostly=0.0)
