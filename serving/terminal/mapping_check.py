"""What a check of a mapping found, in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from models.columns import LEDGER
from serving.terminal.console import line, table

_UPDATES: Final = ("items", "users")
"""What the rows of these tables update; the ledger counts them as routed."""
_MOST_COLUMNS: Final = 60
_LONGEST: Final = 60


def checked(found: Mapping[str, Any]) -> None:
    """Print what each file holds, what its rows become, what looks wrong, and the next command."""
    for one in found["tables"]:
        _table(one)
    for note in found["notes"]:
        line(note)
    line()
    line(found["verdict"], "bold")
    line(f"  {found['next']}", wrap=False)


def _table(one: Mapping[str, Any]) -> None:
    extent = "all" if one["whole_file"] else "the first"
    line()
    line(f"{one['part']}: {one['file']}", "bold", wrap=False)
    if one["refused"]:
        line(f"An ingest would refuse it: {one['refused']}")
    if one["columns"]:
        names = [{"key": key, "column": ", ".join(read)} for key, read in one["columns"].items()]
        table("Columns that are used", names, {"key": "key", "column": "column"})
    if one["unused"]:
        more = f" and {len(one['unused']) - _MOST_COLUMNS:,} more" if len(one["unused"]) > _MOST_COLUMNS else ""
        line(f"Columns that are not used: {', '.join(one['unused'][:_MOST_COLUMNS])}{more}")
    if one["counts"]:
        table(f"What {extent} {one['rows']:,} rows become", [one["counts"]], _labels(one["part"]))
    if one["examples"]:
        _examples(one["examples"])
    if one["broken"]:
        _broken(one["broken"])
    for guess in one["suspicions"]:
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


def _broken(rules: Sequence[Mapping[str, Any]]) -> None:
    lines = [
        {"rule": rule["rule"], "meaning": rule["meaning"], "rows": rule["rows"], "examples": _places(rule["examples"])}
        for rule in rules
    ]
    names = {"rule": "rule", "meaning": "meaning", "rows": "rows", "examples": "examples"}
    table("Rows that break a rule, and go to quarantine", lines, names)
    for rule in rules:
        line(f"{rule['rule']}: {rule['advice']}", indent=2)


def _places(examples: Iterable[Mapping[str, Any]]) -> str:
    said = []
    for one in examples:
        place = f"line {one['line']}" if "line" in one else f"row {one['row']}"
        cells = ", ".join(f"{name}={_short(value)}" for name, value in one.get("cells", {}).items())
        said.append(f"{place}: {cells}" if cells else place)
    return "; ".join(said)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name}: {one}" for name, one in value.items())
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
