"""Prints the batches of the ledger and the results of an undo, readable at 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.database.schema.ledger_schema import UNDO_CHANGES
from models.columns import LEDGER
from serving.terminal.console import line
from serving.terminal.ledger.batch import changed

Row = Mapping[str, Any]
_COUNTS: Final = LEDGER[1:]
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


def print_batches(rows: Sequence[Row]) -> None:
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
