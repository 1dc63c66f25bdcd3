"""Prints the rows in quarantine, and what helps, readable at 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from models.ingest.check.advice import CONFLICT, advice
from models.monitoring.guidance.correction import Correction
from serving.terminal.console import line
from serving.terminal.ledger.batch import counted

Row = Mapping[str, Any]
_UNSEEN: Final = {"payload_hash", "id_hash", "line_hash", "line", "row"}
_SAME_TABLE: Final = "Probably they still break the same rules: the mapping reads their file in the same way."
_SAME_EVENTS: Final = (
    "Probably they break the same rules under the mapping as it is now. A replay does not read the file: "
    "for another item_id or event_id, or for unreadable cells, correct the mapping and ingest the file again."
)


def waiting(rows: Sequence[Row]) -> None:
    """Print how many rows wait, by batch, and how many broke each rule."""
    if not rows:
        line("No row waits in quarantine.")
        return
    total = sum(row["rows"] for row in rows)
    line(f"{counted(total)} in quarantine. A row that broke several rules counts for each of them.", "bold")
    for row in rows:
        line(f"{row['file']} ({row['dataset']} of {row['source']}): {counted(row['rows'])}")
        line(row["batch_id"], wrap=False, indent=2)
        for rule, count in row["rules"].items():
            line(f"{rule}: {count:,}", indent=2)
    _advise(rule for row in rows for rule in row["rules"])
    line("The next command is: tailorbird quarantine show BATCH")


def waiting_rows(rows: Sequence[Row]) -> None:
    """Print waiting rows: their place in the file, the rules that they broke, their values, and advice."""
    if not rows:
        line("No such row waits in quarantine.")
    for row in rows:
        at = row["payload"].get("line")
        place = f"Line {at:,} (row {row['row_number']:,})" if at else f"Row {row['row_number']:,}"
        line(f"{place}: {', '.join(row['rule_ids'])}", "bold")
        for name, value in row["payload"].items():
            if value not in (None, []) and name not in _UNSEEN:
                line(f"{name}: {_value(value)}", indent=2)
    _advise(rule for row in rows for rule in row["rule_ids"])


def _value(value: object) -> str:
    """Return a value of a row in readable form: unreadable cells with their key and column."""
    if not isinstance(value, list):
        return str(value)
    return "; ".join(
        f"{cell['key']} (column {cell['column']}) is {cell['value']!r}" if isinstance(cell, Mapping) else str(cell)
        for cell in value
    )


def _advise(rules: Iterable[str]) -> None:
    """Print the advice for each rule, once."""
    known = {rule: advice(rule) for rule in rules}
    if any(known.values()):
        line("What helps:", "bold")
    for rule, sentence in known.items():
        if sentence:
            line(f"{rule}: {sentence}", indent=2)


def correction(correction: Correction, *, brief: bool = False) -> None:
    """Print that rows wait because of earlier values, and the commands that accept them; `brief` without advice."""
    line(correction.situation, "yellow")
    if correction.commands:
        line("If this version is right, undo the earlier one, then take the waiting rows in:")
        for command in correction.commands:
            line(command, wrap=False, indent=2)
    if not brief:
        otherwise = f"Otherwise `tailorbird quarantine show {correction.batch_id}` states what helps."
        line(otherwise if correction.commands else advice(CONFLICT))


def replayed(moved: int, waiting: int, batch: str, dataset: str) -> None:
    """Print how many of the waiting rows a replay has moved, and, if none, the likely reason."""
    if not waiting:
        line(f"No row of {batch} waits in quarantine.", wrap=False)
        return
    line(f"{moved:,} of {waiting:,} rows moved.", "bold")
    if moved:
        return
    line(_SAME_TABLE if dataset in ("items", "users") else _SAME_EVENTS)
    line(f"The next command is: tailorbird quarantine show {batch}", wrap=False)
