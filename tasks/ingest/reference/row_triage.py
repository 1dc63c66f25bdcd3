"""Classifies rows of items or users. Equal rows are kept once, because order lines repeat their items."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from expectations.rules import RowRule, flags
from models import columns
from models.columns import ROW
from models.ingest.tabular.duplicate_rows import COPIES, UPDATED_AT, WEEK, Choice, chosen
from models.ingest.tabular.unreadable_cells import CELLS
from models.primitives.arrow_sql import query
from tasks.ingest.validation.row_triage import USER_CODE, TriagedRows, breaks_rule, quarantined_rows

_IGNORED = (ROW, COPIES, UPDATED_AT)
"""Columns in which equal rows may differ."""


def condense(rows: pa.Table, rules: Sequence[RowRule], *, weekly: bool = False) -> pa.Table:
    """Return numbered rows with equal good rows merged into the last one, with their `copies` and latest time.

    Rows that break a rule stay as they are; with `weekly`, so do equal rows of different weeks.
    """
    if USER_CODE in rows.column_names:  # differs between chunks
        rows = rows.drop_columns([USER_CODE])
    if COPIES not in rows.column_names:
        rows = rows.append_column(COPIES, pa.array([1] * len(rows), pa.int64()))
    bad = pa.array(breaks_rule(flags(rows, rules)))
    good = _without_cells(rows.filter(pc.invert(bad)))
    # DuckDB has no structure without fields.
    plain = [name for name in good.column_names if name != columns.ATTRIBUTES or good.field(name).type.num_fields]
    same = ", ".join(f'"{name}"' for name in plain if name not in _IGNORED)
    latest = f", max({UPDATED_AT}) AS {UPDATED_AT}" if UPDATED_AT in plain else ""
    alike = f"{same}, {WEEK.format(UPDATED_AT)}" if weekly else same
    merged = query(
        f"SELECT {same}, max({ROW}) AS {ROW}, sum({COPIES})::BIGINT AS {COPIES}{latest} FROM good GROUP BY {alike}",
        good=good.select(plain),
    )
    for name in good.column_names:
        if name not in plain:
            merged = merged.append_column(name, pa.array([{}] * len(merged), good.field(name).type))
    return pa.concat_tables([rows.filter(bad), merged.select(rows.column_names).cast(rows.schema)]).sort_by(ROW)


def _without_cells(rows: pa.Table) -> pa.Table:
    """Drop the unreadable cells of good rows: equal rows of two chunks would differ in their suggestions."""
    if CELLS not in rows.column_names:
        return rows
    return rows.set_column(rows.column_names.index(CELLS), CELLS, pa.nulls(len(rows), rows.field(CELLS).type))


def triage_reference(
    rows: pa.Table,
    rules: Sequence[RowRule],
    suppressed: pa.Array,
    key: str,
    choices: Mapping[str, Choice] = MappingProxyType({}),
) -> TriagedRows:
    """Classify condensed rows: those that break a rule, and one row for each `key` of the others.

    That is the last one, with the values that `choices` select by column. It is `accepted` for the caller to store, and
    counted as routed, because it updates the catalogue or the users.
    """
    eligible = rows.filter(pc.invert(pc.is_in(rows[key], value_set=suppressed)))
    violations = flags(eligible, rules)
    bad = breaks_rule(violations)
    candidates, quarantined = eligible.filter(pa.array(~bad)), quarantined_rows(eligible, violations, bad)
    accepted = chosen(candidates, key, choices)
    counts = {
        "read": _copies(rows),
        "suppressed": _copies(rows) - _copies(eligible),
        "routed": len(accepted),
        "quarantined": len(quarantined),
        "duplicate": _copies(candidates) - len(accepted),
        "accepted": 0,
    }
    return TriagedRows(accepted.drop_columns([ROW, COPIES]), quarantined.drop_columns([COPIES]), counts)


def _copies(rows: pa.Table) -> int:
    return pc.sum(rows[COPIES]).as_py() or 0
