"""Prints the ledger and the quarantine, readable at 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from infra.database.schema.ledger_schema import UNDO_CHANGES
from models.columns import LEDGER
from models.ingest.check.rule_advice import CONFLICT, advice
from models.monitoring.guidance.correction import Correction
from serving.terminal.console import line
from serving.terminal.ledger_batch import changed, counted

Row = Mapping[str, Any]
_COUNTS: Final = LEDGER[1:]
_UNSEEN: Final = {"payload_hash", "id_hash", "line_hash", "line", "row"}
_REMOVED: Final = {
    "events_removed": "events go",
    "events_kept": "events stay, because other batches have them too",
    "items_removed": "items go",
    "items_changed": "items get earlier values back",
    "users_removed": "users go",
    "users_changed": "users get earlier values back",
    "quarantined_removed": "rows in quarantine go",
    "refusals_kept": "refusals of consent stay",
}
_SAME_TABLE: Final = "Probably they still break the same rules: the mapping reads their file in the same way."
_SAME_EVENTS: Final = (
    "Probably they break the same rules under the mapping as it is now. A replay does not read the file: "
    "for another item_id or event_id, or for unreadable cells, correct the mapping and ingest the file again."
)


def batches(rows: Sequence[Row]) -> None:
    """Print the batches, the newest first, three lines each."""
    if not rows:
        line("Nothing was ingested yet. The next command is: tailorbird ingest SOURCE")
    for row in rows:
        when = f"{row['started_at']:%Y-%m-%d %H:%M}"
        line(f"{when}  {row['source']}  {row['dataset']}  {row['status']}  {row['file']}", "bold")
        line(row["batch_id"], wrap=False, indent=2)
        line(accounted(row), indent=2)
        if row["detail"]:
            line(row["detail"], "dim", indent=2)
        for change in row.get("changes", ()):
            if not (change["action"] == "undo" and row["status"] == "undone" and change is row["changes"][-1]):
                line(changed(change), "dim", indent=2)


def accounted(row: Row) -> str:
    """Return the sum of a batch's rows by result."""
    parts = [f"{row[name]:,} {name}" for name in _COUNTS if row[name]]
    late = f"; {row['late']:,} late" if row.get("late") else ""
    return f"{row['read']:,} read = {' + '.join(parts) or '0'}{late}"


def preview(undo: Row) -> None:
    """Print the data that an undo would remove."""
    _removed(undo, "would be undone")
    _made(undo)


def undone(undo: Row) -> None:
    """Print the data that an undo has removed."""
    _removed(undo, "is undone")
    _made(undo)
    again = "The same file can be ingested again: tailorbird ingest SOURCE PATH"
    if not any(row[name] for row in undo["batches"] for name in UNDO_CHANGES):
        line(f"No event, item or user changed, so nothing has to be made again. {again}")
    elif not undo["datasets"]:
        line(f"Nothing was made from it. {again}")


def _removed(undo: Row, outcome: str) -> None:
    for row in undo["batches"]:
        end = ":" if any(row[name] for name in _REMOVED) else "; there is nothing to remove."
        line(f"{row['file']} ({row['dataset']} of {row['source']}) {outcome}{end}", "bold")
        line(row["batch_id"], wrap=False, indent=2)
        for name, meaning in _REMOVED.items():
            if row[name]:
                line(f"{row[name]:,} {meaning}", indent=2)


def _made(undo: Row) -> None:
    """Print the data sets, champion and lists that used the batches: an undo does not change them."""
    if undo["datasets"]:
        line(f"Data sets made since it came in: {', '.join(undo['datasets'])}.")
    if undo["champion"] is not None:
        line(f"The champion, version {undo['champion']}, learned from it.")
    if undo["placements"]:
        line(f"Live lists made since it came in: {', '.join(undo['placements'])}.")


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
