"""In which order people read the tables on Prefect's pages: the verdict first, then what it is about, then figures.

Rows that were stored as JSON come back in another order than they were written in.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

Row = Mapping[str, Any]
Columns = Mapping[str, str]
"""Headings by the names of columns, in reading order."""


def _named(*names: str, **headings: str) -> dict[str, str]:
    return {name: headings.get(name, name.replace("_", " ")) for name in names}


LEDGER: Final = _named(
    "status", "dataset", "source", "read", "accepted", "quarantined", "duplicate", "suppressed", "routed", "late",
    "detail", "file", "batch_id", "consent",
)  # fmt: skip
GATE: Final = _named("outcome", "name", "detail", "value", "limit", "low", "high", name="check")
GROUPS: Final = _named("outcome", "trait", "value", "users", "candidate", "reference", "difference", "low", "high")
DECISION: Final = _named(
    "decision", "model_version", "champion", "remark", "reviewer", "reason", "passed", "overridden", "dataset_version",
    passed="passed the gate", champion="champion now",
)  # fmt: skip
BATCHES: Final = _named(
    "status", "placement", "batch_id", "model_version", "users", "recommendations", "coverage", "reasons",
    "shorter lists", "kept from before", batch_id="batch",
)  # fmt: skip
SEGMENTS: Final = _named("segment", "lists", "full", "kept from before")
WINDOWS: Final = _named(
    "verdict", "decision", "window", "reasons", "drivers", "joint", "joint_threshold", "model_version", "page",
    joint="joint deviation", joint_threshold="limit",
)  # fmt: skip


def in_order(rows: Iterable[Row], columns: Columns) -> list[dict[str, Any]]:
    """Return rows with these columns alone, in their order and under their headings; those nobody has are left out."""
    rows = list(rows)
    there = [name for name in columns if any(name in row for row in rows)]
    return [{columns[name]: row.get(name) for name in there} for row in rows]


def facts(found: Row, columns: Columns | None = None) -> list[dict[str, Any]]:
    """Return one row as a table of two columns, which needs no scrolling."""
    names = columns or {name: name.replace("_", " ") for name in found}
    return [{"": heading, "value": found[name]} for name, heading in names.items() if found.get(name) is not None]


def judged(groups: Iterable[Row]) -> list[dict[str, Any]]:
    """Return results of groups of people with their outcome in a word."""
    return [{**group, "outcome": _outcome(group)} for group in groups]


def _outcome(group: Row) -> str:
    if not group.get("judged", True):
        return "too few people to judge"
    return "passed" if group["passed"] else "worse"


def rounded(value: float) -> float | int | str:
    """Return a figure as people read it: whole numbers as such, others with four places or digits."""
    if isinstance(value, int):
        return value
    if value != value or value in (float("inf"), float("-inf")):
        return ""
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return round(value, 1) if abs(value) >= 1000 else round(value, 4) if abs(value) >= 0.001 else float(f"{value:.2g}")


Batch = Mapping[str, Any]


def batch_line(batch: Batch) -> dict[str, Any]:
    """Return what people read of a batch."""
    summary = batch["summary"]
    names = ("placement", "batch_id", "model_version", "users", "recommendations", "status")
    said = {name: batch[name] for name in names}
    said["coverage"], said["kept from before"] = summary.get("coverage"), summary.get("kept_from_before")
    said["reasons"] = ", ".join(f"{kind} {share:.0%}" for kind, share in summary.get("reasons", {}).items())
    said["shorter lists"] = "; ".join(f"{count}: {why}" for why, count in summary.get("short", {}).items())
    return said
