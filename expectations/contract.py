"""Validates the contract of a data set: its required columns, and the kinds of their values."""

from collections.abc import Collection, Mapping
from typing import Final

from models.errors import TailorbirdError
from models.ingest.tabular.unreadable_cells import Kind as Kind

_ACCEPTED: Final[dict[Kind, set[Kind]]] = {"number": {"number", "text", "untyped"}, "time": {"time", "text", "untyped"}}
# Kinds that can be read as a number or a time. A text is parsed value by value, as in CSV.


class ContractViolationError(TailorbirdError):
    """A source lacks a column or has the wrong kind of value; none of its rows was stored."""


def check(
    source: str,
    present: Mapping[str, Kind],
    rows: int,
    required: Mapping[str, Kind],
    optional: Collection[str] = (),
    hint: str = "",
) -> None:
    """Compare the columns of a source with those that its mapping reads. Raises ContractViolationError with all faults.

    `optional` columns may be missing, but not have another kind. A `hint` is added if columns are missing.
    """
    faults = [] if rows else ["it has no rows"]
    for column, kind in required.items():
        if column not in present:
            faults += [] if column in optional else [f"column {column!r} is missing"]
        elif present[column] == "nested":
            faults.append(f"column {column!r} must hold single values, found lists or structures")
        elif kind in _ACCEPTED and present[column] not in _ACCEPTED[kind]:
            faults.append(f"column {column!r} must hold a {kind}, found {present[column]}")
    if faults:
        advice = f"{hint} " if hint and any("is missing" in fault for fault in faults) else ""
        raise ContractViolationError(
            f"{source} breaks its contract: {'; '.join(faults)}. {_columns(present, required)} "
            f"{advice}Fix the file or the mapping, then ingest it again; nothing was stored."
        )


def _columns(present: Collection[str], required: Collection[str]) -> str:
    """Describe the columns by number and by the mapping's names: without a header, other names are a row's values."""
    known = [name for name in required if name in present]
    listed = f"these are in the mapping: {', '.join(known)}" if known else "none of them is in the mapping"
    hint = "" if known else " Does its first line name the columns?"
    return f"It has {len(present)} columns; {listed}.{hint}"
