"""Prints the results of an ingest, and suspicious values in its rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from models.columns import LEDGER
from models.ingest.check.advice import OddBatch, odd_prices
from models.ingest.check.file_names import some_names
from models.monitoring.guidance.correction import Correction
from serving.terminal.console import line, table
from serving.terminal.ledger.quarantine import correction

_LEDGER = ("dataset", *LEDGER, "status")


def print_ingested(batches: Iterable[Mapping[str, Any]]) -> None:
    """Print the ledger entries of an ingest, its remarks, and suspicious items, prices and currencies."""
    rows = [{**batch, "file": str(batch.get("file", "")).rpartition("/")[2]} for batch in batches]
    names = _LEDGER if len({row["dataset"] for row in rows}) == len(rows) else ("file", *_LEDGER)
    table("What became of every row", rows, dict(zip(names, names, strict=True)))
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
    rows, names = batch["suspects"], {"item_id": "item", "title": "title", "bought": "purchases", "why": "why"}
    table(f"{batch['suspects_found']:,} items may be no goods, the clearest first", rows, names)
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
