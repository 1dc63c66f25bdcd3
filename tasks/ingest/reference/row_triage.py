"""Takes rows of items or users apart. Equal rows are kept once: a table of order lines repeats its items endlessly."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from expectations.rules import RowRule, flags
from models import columns
from models.columns import ROW
from models.ingest.tabular.duplicate_rows import COPIES, UPDATED_AT, Choice, chosen
from models.ingest.tabular.unreadable_cells import CELLS
from models.primitives.arrow_sql import query
from tasks.ingest.validation.row_triage import USER_CODE, TriagedRows, quarantined_rows, unsound

_APART = (ROW, COPIES, UPDATED_AT)
"""Columns by which rows may differ and still be equal."""


def condensed(rows: pa.Table, rules: Sequence[RowRule]) -> pa.Table:
    """Return numbered rows with sound ones that are equal as one: the last, with their `copies` and latest time.

    Rows that break a rule stay as they are.
    """
    if USER_CODE in rows.column_names:  # differs between chunks
        rows = rows.drop_columns([USER_CODE])
    if COPIES not in rows.column_names:
        rows = rows.append_column(COPIES, pa.array([1] * len(rows), pa.int64()))
    bad = pa.array(unsound(flags(rows, rules)))
    good = _without_cells(rows.filter(pc.invert(bad)))
    # DuckDB knows no structure without fields.
    plain = [name for name in good.column_names if name != columns.ATTRIBUTES or good.field(name).type.num_fields]
    same = ", ".join(f'"{name}"' for name in plain if name not in _APART)
    latest = f", max({UPDATED_AT}) AS {UPDATED_AT}" if UPDATED_AT in plain else ""
    merged = query(
        f"SELECT {same}, max({ROW}) AS {ROW}, sum({COPIES})::BIGINT AS {COPIES}{latest} FROM good GROUP BY {same}",
        good=good.select(plain),
    )
    for name in good.column_names:
        if name not in plain:
            merged = merged.append_column(name, pa.array([{}] * len(merged), good.field(name).type))
    return pa.concat_tables([rows.filter(bad), merged.select(rows.column_names).cast(rows.schema)]).sort_by(ROW)


def _without_cells(rows: pa.Table) -> pa.Table:
    """Drop the unreadable cells of rows that come in: equal rows of two chunks would differ in their suggestions."""
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
    """Take condensed rows apart: those that break a rule, and one row for each `key` of the others.

    That is the last one, with the values that `choices` name by column. It is `accepted` for the caller to store, and
    counted as routed: it updates the catalogue or the users.
    """
    kept = rows.filter(pc.invert(pc.is_in(rows[key], value_set=suppressed)))
    broken = flags(kept, rules)
    bad = unsound(broken)
    candidates, quarantined = kept.filter(pa.array(~bad)), quarantined_rows(kept, broken, bad)
    accepted = chosen(candidates, key, choices)
    counts = {
        "read": _copies(rows),
        "suppressed": _copies(rows) - _copies(kept),
        "routed": len(accepted),
        "quarantined": len(quarantined),
        "duplicate": _copies(candidates) - len(accepted),
        "accepted": 0,
    }
    return TriagedRows(accepted.drop_columns([ROW, COPIES]), quarantined.drop_columns([COPIES]), counts)


def _copies(rows: pa.Table) -> int:
    return pc.sum(rows[COPIES]).as_py() or 0
