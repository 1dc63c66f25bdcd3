"""Shows the result of a run of the drift monitor as one table, also if it evaluated no window."""

from typing import Final

from tasks.orchestration.table_columns import Row, TableRow

_NO_WINDOW: Final = "nothing to judge"


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
        {"verdict": "accepted" if accept and not result["note"] else _NO_WINDOW, "reasons": reason}
    ]


def _row(report: Row) -> TableRow:
    window = f"{report['window_from']:%Y-%m-%d} to {report['window_to']:%Y-%m-%d}"
    texts = {"reasons": " ".join(report["reasons"]), "drivers": ", ".join(report["drivers"])}
    return {**report, **texts, "window": window}
