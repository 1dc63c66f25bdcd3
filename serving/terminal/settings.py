"""Prints the settings with their values and origins, and the processes that use other values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.terminal.console import line, table

_NAMES: Final = {"key": "key", "value": "value", "origin": "from"}


def settings(rows: Sequence[Mapping[str, Any]], file: str | None) -> None:
    """Print all settings, the changed ones first, and the command for processes that use other values."""
    line(f"Settings file: {file}" if file else "Settings file: none. Write one with: tailorbird init", wrap=False)
    changed = [row for row in rows if row["origin"] != "default"]
    if changed:
        table("Changed", changed, _NAMES)
    table("Defaults", [row for row in rows if row["origin"] == "default"], {"key": "key", "value": "value"})
    others = [(row, process, value) for row in rows for process, value in row["running"].items()]
    for row, process, value in others:
        line(f"The running {process} uses {row['key']} = {value} instead of {row['value'] or '(not set)'}", "yellow")
    if others:
        line("Restart what uses other values with: tailorbird up")
