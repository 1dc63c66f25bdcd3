"""Defines row rules: each finds the rows that break it, and states how many of them a batch may have."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import narwhals as nw
import numpy as np
import pyarrow as pa
from narwhals.exceptions import NarwhalsError

from models.columns import ROW
from models.ingest.tabular.unreadable_cells import KEYS

_SHOWN_ROWS: Final = 3


@dataclass(frozen=True)
class RowRule:
    """A row for which `violated` is true goes to quarantine under `id`."""

    id: str
    meaning: str
    violated: nw.Expr
    column: str
    """The column that the rule checks."""
    counted: nw.Expr
    """The rows to which the rule applies: those with a value, unless the rule is about missing values."""
    mostly: float = 0.9
    """The share of these rows that must keep the rule; below it the batch as a whole is refused."""


@dataclass(frozen=True)
class SampleCounts:
    """How many rows of a sample break each rule; a rule that cannot be evaluated is missing."""

    rows: int
    broken: dict[str, int] = field(default_factory=dict)
    kept: dict[str, float | None] = field(default_factory=dict)
    """The share of the rows to which the rule applies that keep it; None if it applies to none."""
    first: dict[str, list[int]] = field(default_factory=dict)
    """The numbers of the first rows that break it, from 1."""


def flags(rows: Any, rules: Sequence[RowRule]) -> Any:
    """Return one boolean column per rule, true if a row of `rows` (any eager frame) breaks it; nulls break no rule."""
    return (
        nw.from_native(rows, eager_only=True)
        .select(rule.violated.fill_null(False).alias(rule.id) for rule in rules)
        .to_native()
    )


def count_violations(rules: Sequence[RowRule], samples: Sequence[pa.Table]) -> list[SampleCounts]:
    """Count the rows of each sample that break each rule; all samples have the same columns."""
    rows, counts = pa.concat_tables(samples), [SampleCounts(len(sample)) for sample in samples]
    spans = [slice(start, end) for start, end in pairwise(np.cumsum([0, *map(len, samples)]))]
    numbers = rows[ROW].to_numpy() + 1 if ROW in rows.column_names else None
    for rule in rules:
        try:
            marks = flags(rows, [rule])[rule.id].to_numpy()
            applies = nw.from_native(rows).select(rule.counted.alias(rule.id))[rule.id].to_numpy()
        except (NarwhalsError, pa.ArrowException):  # a column is missing, or has another type
            continue
        for span, one in zip(spans, counts, strict=True):
            broken, of = (int(np.count_nonzero(mask[span])) for mask in (marks, applies))
            one.broken[rule.id], one.kept[rule.id] = broken, (of - broken) / of if of else None
            one.first[rule.id] = [] if numbers is None else numbers[span][marks[span]][:_SHOWN_ROWS].tolist()
    return counts


def missing(column: str, meaning: str) -> RowRule:
    """Return the rule that a column is not null."""
    empty = nw.col(column).is_null()
    return RowRule(f"{column}_missing", meaning, empty, column, counted=empty | nw.lit(True))


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
    return _of_values(rule_id, meaning, column, below | above)


def not_in_set(rule_id: str, meaning: str, column: str, allowed: Sequence[object]) -> RowRule:
    """Return the rule that a value is one of `allowed`."""
    value = nw.col(column)
    return _of_values(rule_id, meaning, column, ~value.is_in(list(allowed)) & ~value.is_null())


def in_set(rule_id: str, meaning: str, column: str, refused: Sequence[object]) -> RowRule:
    """Return the rule that a value is none of `refused`."""
    value = nw.col(column)
    # Arrow cannot tell the type of an empty list.
    violated = value.is_in(list(refused)) if refused else value.is_null() & nw.lit(False)
    return _of_values(rule_id, meaning, column, violated)


def not_stated(column: str, meaning: str) -> RowRule:
    """Return the rule that a number or a time is not null. An unreadable cell is not missing."""
    readable = nw.col(KEYS).is_null()
    return RowRule(f"{column}_missing", meaning, nw.col(column).is_null() & readable, column, counted=readable)


def unreadable(key: str) -> RowRule:
    """Return the rule that a key's cell can be read. Only the share of all bad rows refuses a batch."""
    violated = nw.col(KEYS).cast(nw.String).str.contains(f"|{key}|", literal=True)
    meaning = f"the value of `{key}` cannot be read as the mapping says"
    return replace(_of_values(f"{key}_unreadable", meaning, KEYS, violated), mostly=0.0)


def longer(column: str, limit: int) -> RowRule:
    """Return the rule that a text has at most `limit` characters."""
    meaning = f"an id of more than {limit} characters"
    return _of_values(f"{column}_too_long", meaning, column, nw.col(column).str.len_chars() > limit)


def marked(rule_id: str, meaning: str, column: str) -> RowRule:
    """Return the rule that a mark is not set. No number of marked rows refuses a batch."""
    return replace(not_in_set(rule_id, meaning, column, [False]), mostly=0.0)


def _of_values(rule_id: str, meaning: str, column: str, violated: nw.Expr) -> RowRule:
    """Return a rule that applies to the rows with a value."""
    return RowRule(rule_id, meaning, violated, column, counted=~nw.col(column).is_null())
