"""Prints the result of a check of a mapping."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from models.columns import LEDGER
from serving.terminal.console import line, table

_UPDATES: Final = ("items", "users")
"""Tables whose rows update items or users; the ledger counts them as routed."""
_MOST_COLUMNS: Final = 60
_LONGEST: Final = 60


def checked(report: Mapping[str, Any]) -> None:
    """Print the content of each file, the results of its rows, suspicious values, and the next command."""
    for part in report["tables"]:
        _table(part)
    for note in report["notes"]:
        line(note)
    line()
    line(report["verdict"], "bold")
    line(f"  {report['next']}", wrap=False)


def _table(part: Mapping[str, Any]) -> None:
    extent = "all" if part["whole_file"] else "the first"
    line()
    line(f"{part['part']}: {part['file']}", "bold", wrap=False)
    if part["refused"]:
        line(f"An ingest would refuse it: {part['refused']}")
    if part["columns"]:
        names = [{"key": key, "column": ", ".join(read)} for key, read in part["columns"].items()]
        table("Columns that are used", names, {"key": "key", "column": "column"})
    if part["unused"]:
        more = f" and {len(part['unused']) - _MOST_COLUMNS:,} more" if len(part["unused"]) > _MOST_COLUMNS else ""
        line(f"Columns that are not used: {', '.join(part['unused'][:_MOST_COLUMNS])}{more}")
    if part["counts"]:
        table(f"What {extent} {part['rows']:,} rows become", [part["counts"]], _labels(part["part"]))
    if part["examples"]:
        _examples(part["examples"])
    if part["broken"]:
        _print_broken_rules(part["broken"])
    for guess in part["suspicions"]:
        line(f"Look at this: {guess['says']}", "yellow")
        for write in guess["write"].splitlines():
            line(f"    {write}", wrap=False)


def _labels(part: str) -> dict[str, str]:
    if part not in _UPDATES:
        return dict(zip(LEDGER, LEDGER, strict=True))
    return {"read": "read", "routed": f"{part}, or left out", "quarantined": "quarantined", "duplicate": "duplicate"}


def _examples(rows: Sequence[Mapping[str, Any]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    lines = [{"": name, **{str(n): _short(row.get(name)) for n, row in enumerate(rows)}} for name in names]
    table("Examples", lines, {"": "", **{str(n): f"row {n + 1}" for n in range(len(rows))}})


def _print_broken_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    lines = [
        {"rule": rule["rule"], "meaning": rule["meaning"], "rows": rule["rows"], "examples": _places(rule["examples"])}
        for rule in rules
    ]
    names = {"rule": "rule", "meaning": "meaning", "rows": "rows", "examples": "examples"}
    table("Rows that break a rule, and go to quarantine", lines, names)
    for rule in rules:
        line(f"{rule['rule']}: {rule['advice']}", indent=2)


def _places(examples: Iterable[Mapping[str, Any]]) -> str:
    places = []
    for example in examples:
        place = f"line {example['line']}" if "line" in example else f"row {example['row']}"
        cells = ", ".join(f"{name}={_short(value)}" for name, value in example.get("cells", {}).items())
        places.append(f"{place}: {cells}" if cells else place)
    return "; ".join(places)


def _short(value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name}: {inner}" for name, inner in value.items())
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
