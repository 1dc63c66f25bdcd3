"""Prints one batch of the ledger."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from serving.terminal.console import formatted, line, table

Row = Mapping[str, Any]
_OWN_LINES: Final = ("rules", "waiting", "changes")
_COUNTED: Final = (
    "A row that broke several rules counts for each. Fewer rows may wait than were read: equal rows wait once, and "
    "rows leave when they are replayed, resolved by a later batch, or dismissed."
)


def changed(change: Row) -> str:
    """Return a sentence about a change of a batch, with its time, person and reason."""
    done = {"undo": "Undone", "dismiss": "Rows dismissed"}[change["action"]]
    return f"{done} on {change['at']:%Y-%m-%d %H:%M} by {change['actor']}: {change['reason']}"


def entry(row: Row) -> None:
    """Print the whole record of one batch, and how many of its rows wait for each rule."""
    plain = {name: value for name, value in row.items() if name not in _OWN_LINES}
    table("Batch", [{"name": name, "value": _value(value)} for name, value in plain.items()], {"name": "", "value": ""})
    for change in row["changes"]:
        line(changed(change))
    rules, waiting = row["rules"], row["waiting"]
    if rules:
        lines = [
            {"rule": rule, "read": rules.get(rule, 0), "waiting": waiting["rules"].get(rule, 0)}
            for rule in dict.fromkeys([*rules, *waiting["rules"]])
        ]
        labels = {"rule": "rule", "read": "rows when read", "waiting": "rows that wait now"}
        table("Rows that broke a rule", lines, labels)
        line(_COUNTED, "dim")
        line(f"{counted(waiting['rows'], ' of this batch')} in quarantine now.")
    if waiting["rows"]:
        line(f"The next command is: tailorbird quarantine show {row['batch_id']}", wrap=False)


def counted(count: int, of: str = "") -> str:
    """Return a phrase with the number of waiting rows."""
    return f"{count:,} row{of} waits" if count == 1 else f"{count:,} rows{of} wait"


def _value(value: object) -> str:
    """Return a value of the ledger in readable form."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value.year > 1 else ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_value(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else formatted(value)
