"""Compare the cells of tables: columns that repeat the ids of another table, or determine another column."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.roles import UNIQUE, may_be_id, times_of, unique_ids
from models.ingest.draft.samples import Column, Sample
from models.primitives.arrow_types import ArrowColumn

_HELD: Final = 0.7
"""The smallest share of rows of a column with an id of the other table."""
_COVERED: Final = 0.01
_COVERED_NUMBERS: Final = 0.1
"""Quantities also occur among short item numbers, but they cover few of them."""
_LEAST_IDS: Final = 5
_LEAST_ROWS: Final = 25
"""A table of fewer ids may be one of branches, statuses or countries."""
_DEPENDENT: Final = 0.95
_LEAST_GROUPS: Final = 5
_DECIMAL: Final = r"\d[.,]\d{1,2}(\D|$)"
_FEW: Final = 0.05


@dataclass(frozen=True)
class Link:
    """A column whose values repeat, and the unique column of another table that has them."""

    column: Column
    table: Sample
    key: Column
    strength: float


def links(sample: Sample, tables: Iterable[Sample]) -> list[Link]:
    """Return at most one link to each other table, and of each column: the strongest ones."""
    ids = repeated_ids(sample)
    candidates = [
        Link(one, table, key, strength)
        for table in tables
        if table is not sample
        for key in unique_ids(table)
        if len(key.values) >= _LEAST_ROWS
        for one in ids
        if (strength := _strength(one, key))
    ]
    strongest: list[Link] = []
    for link in sorted(candidates, key=lambda one: -one.strength):
        if not any(link.table is one.table or link.column is one.column for one in strongest):
            strongest.append(link)
    return strongest


def repeated_ids(sample: Sample) -> list[Column]:
    """Return the columns that may hold ids shared by several rows, by their cells alone."""
    times = {one.name for one in times_of(sample)}
    ids = [one for one in sample.columns.values() if one.name not in times and may_be_id(one)]
    return [one for one in ids if one.distinct < UNIQUE and len(one.values) >= _LEAST_IDS and not is_decimal(one)]


def is_decimal(one: Column) -> bool:
    """Return whether a column has numbers with a fraction, such as money."""
    return one.is_number and one.share(_DECIMAL) > _FEW


def dependency_share(some: ArrowColumn, others: ArrowColumn) -> float | None:
    """Return the share of values of one column that come with one value of another; None if too few have two rows."""
    rows = pa.table({"key": some, "value": others}).filter(pc.is_valid(some))
    groups = rows.group_by("key").aggregate([("key", "count"), ("value", "count_distinct")])
    several = groups.filter(pc.greater(groups["key_count"], 1))
    if len(several) < _LEAST_GROUPS:
        return None
    return float(pc.mean(pc.less_equal(several["value_count_distinct"], 1).cast(pa.int8())).as_py())


def is_order(one: Column, times: Sequence[Column]) -> bool:
    """Return whether all rows of a value have one day: rows of an order do, rows of a user or item do not."""
    return bool(times) and (dependency_share(one.texts, times[0].days) or 0) >= _DEPENDENT


def _strength(one: Column, key: Column) -> float:
    """Return how well a column repeats the ids of another, 0 if it does not."""
    shared = len(one.values & key.values)
    covered = shared / max(1, len(key.values))
    numbers = one.share(r"^\d{1,5}$") > _HELD
    if shared < _LEAST_IDS or covered < (_COVERED_NUMBERS if numbers else _COVERED):
        return 0.0
    held = (pc.sum(pc.is_in(one.stated, value_set=pa.array(sorted(key.values)))).as_py() or 0) / len(one.stated)
    return float(held * (1 + covered)) if held >= _HELD else 0.0
