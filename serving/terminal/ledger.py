"""Prints batches of the ledger, rows in quarantine, and the results of an ingest or undo, readable at 80 columns."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from infra.database.schema.ledger_schema import UNDO_CHANGES
from models.columns import LEDGER
from models.ingest.check.advice import CONFLICT, OddBatch, advice, odd_prices
from models.ingest.check.file_names import some_names
from models.monitoring.guidance.situation import Correction
from serving.terminal.console import formatted, line, table

Row = Mapping[str, Any]
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
_COUNTED: Final = (
    "A row that broke several rules counts for each. Fewer rows may wait than were read: equal rows wait once, and "
    "rows leave when they are replayed, resolved by a later batch, or dismissed."
)
_UNSEEN: Final = {"payload_hash", "id_hash", "line_hash", "line", "row"}
_SAME_TABLE: Final = "Probably they still break the same rules: the mapping reads their file in the same way."
_SAME_EVENTS: Final = (
    "Probably they break the same rules under the mapping as it is now. A replay does not read the file: "
    "for another item_id or event_id, or for unreadable cells, correct the mapping and ingest the file again."
)


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
    parts = [f"{row[name]:,} {name}" for name in LEDGER[1:] if row[name]]
    late = f"; {row['late']:,} late" if row.get("late") else ""
    return f"{row['read']:,} read = {' + '.join(parts) or '0'}{late}"


def preview(undo: Row, outcome: str = "would be undone") -> None:
    """Print the data that an undo removes, and the data sets, champion and lists that it does not change."""
    for row in undo["batches"]:
        end = ":" if any(row[name] for name in _REMOVED) else "; there is nothing to remove."
        line(f"{row['file']} ({row['dataset']} of {row['source']}) {outcome}{end}", "bold")
        line(row["batch_id"], wrap=False, indent=2)
        for name, meaning in _REMOVED.items():
            if row[name]:
                line(f"{row[name]:,} {meaning}", indent=2)
    if undo["datasets"]:
        line(f"Data sets made since it came in: {', '.join(undo['datasets'])}.")
    if undo["champion"] is not None:
        line(f"The champion, version {undo['champion']}, learned from it.")
    if undo["placements"]:
        line(f"Live lists made since it came in: {', '.join(undo['placements'])}.")


def undone(undo: Row) -> None:
    """Print the data that an undo has removed."""
    preview(undo, "is undone")
    again = "The same file can be ingested again: tailorbird ingest SOURCE PATH"
    if not any(row[name] for row in undo["batches"] for name in UNDO_CHANGES):
        line(f"No event, item or user changed, so nothing has to be made again. {again}")
    elif not undo["datasets"]:
        line(f"Nothing was made from it. {again}")


def changed(change: Row) -> str:
    """Return a sentence about a change of a batch, with its time, person and reason."""
    done = {"undo": "Undone", "dismiss": "Rows dismissed"}[change["action"]]
    return f"{done} on {change['at']:%Y-%m-%d %H:%M} by {change['actor']}: {change['reason']}"


def entry(row: Row) -> None:
    """Print the whole record of one batch, and how many of its rows wait for each rule."""
    plain = {name: value for name, value in row.items() if name not in ("rules", "waiting", "changes")}
    table("Batch", [{"name": name, "value": _value(value)} for name, value in plain.items()], {"name": "", "value": ""})
    for change in row["changes"]:
        line(changed(change))
    rules, waiting = row["rules"], row["waiting"]
    if rules:
        lines = [
            {"rule": rule, "rows when read": rules.get(rule, 0), "rows that wait now": waiting["rules"].get(rule, 0)}
            for rule in dict.fromkeys([*rules, *waiting["rules"]])
        ]
        table("Rows that broke a rule", lines)
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


def print_ingested(batches: Iterable[Mapping[str, Any]]) -> None:
    """Print the ledger entries of an ingest, its remarks, and suspicious items, prices and currencies."""
    rows = [{**batch, "file": str(batch.get("file", "")).rpartition("/")[2]} for batch in batches]
    file = [] if len({row["dataset"] for row in rows}) == len(rows) else ["file"]
    table("What became of every row", rows, [*file, "dataset", *LEDGER, "status"])
    if any(row["status"] == "unchanged" for row in rows):
        line("unchanged: it was ingested before, with these counts; nothing was stored again", "dim")
    for consent in sorted({row["consent"] for row in rows}):
        line(f"consent: {consent}", "dim")
    remarks: dict[str, list[str]] = {}
    for row in rows:
        if row.get("detail") and row["status"] != "unchanged":
            remarks.setdefault(row["detail"], []).append(row["file"] or row["dataset"])
    for remark, files in remarks.items():
        line(f"{some_names(files)}: {remark}", "yellow")
    for row in rows:
        if row.get("correction"):
            correction(Correction(**row["correction"]))
        _currencies(row.get("currencies"))
        _suspects(row)


def _currencies(report: Mapping[str, Any] | None) -> None:
    """Print that amounts are in several currencies, and the lines of the mapping that convert them."""
    if not report:
        return
    line(report["says"], "yellow")
    line(report["advice"])
    if report["write"]:
        for text in report["write"].splitlines():
            line(text, wrap=False, indent=2)
        line("Then undo this source's batches (tailorbird ledger) and ingest their files again.")


def _suspects(batch: Mapping[str, Any]) -> None:
    """Print items that may not be goods, the line of the mapping that marks them, and prices that may be wrong."""
    if batch.get("odd_prices"):
        _odd_prices(batch["odd_prices"])
    if not batch.get("suspects"):
        return
    names = {"item_id": "item", "title": "title", "bought": "purchases", "why": "why"}
    table(f"{batch['suspects_found']:,} items may be no goods, the clearest first", batch["suspects"], names)
    if batch["suspects_mark"]:
        line("Nothing was done to them. To keep them out of every list, put this under [items] of the mapping, without")
        line("the goods among them, and ingest again:")
        line(batch["suspects_mark"], wrap=False)


def _odd_prices(report: Mapping[str, Any]) -> None:
    line(odd_prices(report), "yellow")
    if report["batch"]:
        batch = OddBatch(**report["batch"])
        line(f"{batch} To remove what it brought:")
        line(batch.command, wrap=False, indent=2)
    else:
        line("Check what the mapping reads as `value`, `quantity` and `price`:")
        line(report["check"], wrap=False, indent=2)


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
                line(f"{name}: {_cells(value)}", indent=2)
    _advise(rule for row in rows for rule in row["rule_ids"])


def _cells(value: object) -> str:
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
