"""Orders the columns of tables on Prefect's pages: the verdict first, then its subject, then figures.

JSON columns of PostgreSQL do not keep the order of their keys.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

Row = Mapping[str, Any]
"""A row with columns by name."""
TableRow = dict[str, object]
"""A row of a table for people, with headings as keys."""
Columns = Mapping[str, str]
"""Headings by the names of columns, in reading order."""


def _columns(*names: str, **headings: str) -> dict[str, str]:
    return {name: headings.get(name, name.replace("_", " ")) for name in names}


LEDGER: Final = _columns(
    "status", "dataset", "source", "read", "accepted", "quarantined", "duplicate", "suppressed", "routed", "late",
    "detail", "file", "batch_id", "consent",
)  # fmt: skip
GATE: Final = _columns("outcome", "name", "detail", "value", "limit", "low", "high", name="check")
GROUPS: Final = _columns("outcome", "trait", "value", "users", "candidate", "reference", "difference", "low", "high")
DECISION: Final = _columns(
    "decision", "model_version", "champion", "remark", "reviewer", "reason", "passed", "overridden", "dataset_version",
    passed="passed the gate", champion="champion now",
)  # fmt: skip
BATCHES: Final = _columns(
    "status", "placement", "batch_id", "model_version", "users", "recommendations", "coverage", "reasons",
    "filled", "shorter lists", "kept from before", batch_id="batch",
)  # fmt: skip
SEGMENTS: Final = _columns("segment", "lists", "full", "kept from before")
ERASED: Final = _columns("store", "rows")
WINDOWS: Final = _columns(
    "verdict", "decision", "window", "reasons", "drivers", "joint", "joint_threshold", "model_version", "page",
    joint="joint deviation", joint_threshold="limit",
)  # fmt: skip


def in_order(rows: Iterable[Row], columns: Columns) -> list[TableRow]:
    """Return rows with these columns in this order under their headings; columns without values are left out."""
    rows = list(rows)
    present = [name for name in columns if any(name in row for row in rows)]
    return [{columns[name]: row.get(name) for name in present} for row in rows]


def facts(row: Row, columns: Columns | None = None) -> list[TableRow]:
    """Return one row as a table of two columns, which needs no scrolling."""
    names = columns or {name: name.replace("_", " ") for name in row}
    return [{"": heading, "value": row[name]} for name, heading in names.items() if row.get(name) is not None]


def judged(groups: Iterable[Row]) -> list[TableRow]:
    """Return the results of groups of people with their outcome as a word."""
    return [{**group, "outcome": _outcome(group)} for group in groups]


def _outcome(group: Row) -> str:
    if not group.get("judged", True):
        return "too few people to judge"
    return "passed" if group["passed"] else "worse"


def rounded(value: float) -> float | int | str:
    """Return a figure in a readable form: integers as they are, others with four decimals or digits."""
    if isinstance(value, int):
        return value
    if value != value or value in (float("inf"), float("-inf")):
        return ""
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return round(value, 1) if abs(value) >= 1000 else round(value, 4) if abs(value) >= 0.001 else float(f"{value:.2g}")


def batch_row(batch: Row) -> TableRow:
    """Return the row of a batch of lists for people."""
    summary = batch["summary"]
    names = ("placement", "batch_id", "model_version", "users", "recommendations", "status")
    row: TableRow = {name: batch[name] for name in names}
    row["coverage"], row["kept from before"] = summary.get("coverage"), summary.get("kept_from_before")
    row["reasons"] = ", ".join(f"{kind} {share:.0%}" for kind, share in summary.get("reasons", {}).items())
    row["filled"] = ", ".join(f"{share:.0%} of {part}" for part, share in summary.get("filled", {}).items())
    row["shorter lists"] = "; ".join(f"{count}: {cause}" for cause, count in summary.get("short", {}).items())
    return row


def windows_table(result: Row, accept: str) -> tuple[str, list[TableRow]]:
    """Return a title and rows for a result of `detect_drift`, the latest window first."""
    reports = result["reports"]
    if reports:
        return "Evaluated windows, the latest first", [_row(report) for report in reversed(reports)]
    reason = result["note"] or (
        "The newest windows count as usual from now on."
        if accept
        else "No window has ended since the bands were fitted."
    )
    return "No window was evaluated", [
        {"verdict": "accepted" if accept and not result["note"] else "nothing to judge", "reasons": reason}
    ]


def _row(report: Row) -> TableRow:
    window = f"{report['window_from']:%Y-%m-%d} to {report['window_to']:%Y-%m-%d}"
    texts = {"reasons": " ".join(report["reasons"]), "drivers": ", ".join(report["drivers"])}
    return {**report, **texts, "window": window}
