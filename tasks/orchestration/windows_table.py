"""What a look for drift has seen, as one table, also when there was nothing to see."""

from collections.abc import Mapping
from typing import Any, Final

_NOTHING: Final = "nothing to judge"


def windows_table(seen: Mapping[str, Any], accept: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a title and rows for what `detect_drift` returned, the latest window first."""
    reports = seen["reports"]
    if reports:
        return "Windows that were looked at, the latest first", [_row(report) for report in reversed(reports)]
    why = seen["note"] or (
        "The newest windows are usual from now on." if accept else "No window is over since the bands were learned."
    )
    return "No window was looked at", [
        {"verdict": "accepted" if accept and not seen["note"] else _NOTHING, "reasons": why}
    ]


def _row(report: Mapping[str, Any]) -> dict[str, Any]:
    window = f"{report['window_from']:%Y-%m-%d} to {report['window_to']:%Y-%m-%d}"
    words = {"reasons": " ".join(report["reasons"]), "drivers": ", ".join(report["drivers"])}
    return {**report, **words, "window": window}
