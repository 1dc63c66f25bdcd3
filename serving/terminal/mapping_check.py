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
        table("Columns that are used", [{"key": key, "column": ", ".join(of)} for key, of in part["columns"].items()])
    if part["unused"]:
        more = f" and {len(part['unused']) - _MOST_COLUMNS:,} more" if len(part["unused"]) > _MOST_COLUMNS else ""
        line(f"Columns that are not used: {', '.join(part['unused'][:_MOST_COLUMNS])}{more}")
    if part["counts"]:
        updates = {"read": "read", "routed": f"{part['part']}, or left out"}
        updates |= {"quarantined": "quarantined", "duplicate": "duplicate"}
        columns = updates if part["part"] in _UPDATES else LEDGER
        table(f"What {extent} {part['rows']:,} rows become", [part["counts"]], columns)
    if part["examples"]:
        _examples(part["examples"])
    if part["broken"]:
        _print_broken_rules(part["broken"])
    for guess in part["suspicions"]:
        line(f"Look at this: {guess['says']}", "yellow")
        for write in guess["write"].splitlines():
            line(f"    {write}", wrap=False)


def _examples(rows: Sequence[Mapping[str, Any]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    table(
        "Examples",
        [{"": name, **{f"row {n}": _short(row.get(name)) for n, row in enumerate(rows, 1)}} for name in names],
    )


def _print_broken_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    lines = [{**rule, "examples": _places(rule["examples"])} for rule in rules]
    table("Rows that break a rule, and go to quarantine", lines, ["rule", "meaning", "rows", "examples"])
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
