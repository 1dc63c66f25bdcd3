"""The contract of a data set: columns that must be there, and the kinds of value they must hold."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from expectations.great_expectations_library import great_expectations
from models.errors import TailorbirdError
from models.ingest.tabular.value_kinds import Kind as Kind

_ACCEPTED: Final[dict[Kind, set[Kind]]] = {"number": {"number", "text", "untyped"}, "time": {"time", "text", "untyped"}}
# What serves as a number or a time. A text is read value by value, as in CSV.


class ContractViolationError(TailorbirdError):
    """A source that lacks a column or holds the wrong kind of value: nothing of it was taken."""


def check(
    source: str,
    found: Mapping[str, Kind],
    rows: int,
    required: Mapping[str, Kind],
    optional: Collection[str] = (),
    hint: str = "",
) -> None:
    """Compare the columns of a source, by name, with the ones its mapping reads; all faults are told at once.

    The `optional` ones may be missing, but not hold something else. A `hint` is added if columns are missing.
    """
    faults = [] if rows else ["it has no rows"]
    for column, kind in required.items():
        if column not in found:
            faults += [] if column in optional else [f"column {column!r} is missing"]
        elif found[column] == "nested":
            faults.append(f"column {column!r} must hold single values, found lists or structures")
        elif kind in _ACCEPTED and found[column] not in _ACCEPTED[kind]:
            faults.append(f"column {column!r} must hold a {kind}, found {found[column]}")
    if faults:
        advice = f"{hint} " if hint and any("is missing" in fault for fault in faults) else ""
        raise ContractViolationError(
            f"{source} breaks its contract: {'; '.join(faults)}. {_columns(found, required)} "
            f"{advice}Fix the file or the mapping, then ingest it again; nothing was stored."
        )


def _columns(found: Collection[str], required: Collection[str]) -> str:
    """Describe the columns by number and by the mapping's own names: without a header, others are values of a row."""
    known = [name for name in required if name in found]
    listed = f"these are in the mapping: {', '.join(known)}" if known else "none of them is in the mapping"
    hint = "" if known else " Does its first line name the columns?"
    return f"It has {len(found)} columns; {listed}.{hint}"


def profile_suite(name: str, bounds: Mapping[str, tuple[float | None, float | None]]) -> Any:
    """The suite for a batch's profile (one row): each figure within its bounds."""
    gx = great_expectations()
    made = [
        gx.expectations.ExpectColumnValuesToBeBetween(column=c, min_value=low, max_value=high, meta={"rule_id": c})
        for c, (low, high) in bounds.items()
    ]
    return gx.ExpectationSuite(name=name, expectations=made)
