"""What people find on the page of a scoring run: what was published, and for whom."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report import show

Batch = Mapping[str, Any]


def report_batches(batches: Sequence[Batch]) -> None:
    """A table of the batches, and for each one of its lists by segment."""
    show("batches", "Published lists", [_line(batch) for batch in batches])
    for batch in batches:
        rows = batch["summary"].get("segments", [])
        if len(rows) > 1:
            show(f"lists-{batch['placement']}", f"Lists for {batch['placement']}, by segment", rows)


def _line(batch: Batch) -> dict[str, Any]:
    summary = batch["summary"]
    names = ("placement", "batch_id", "model_version", "users", "recommendations", "status")
    said = {name: batch[name] for name in names}
    said["coverage"], said["kept from before"] = summary.get("coverage"), summary.get("kept_from_before")
    said["shorter lists"] = "; ".join(f"{count}: {why}" for why, count in summary.get("short", {}).items())
    return said | {"rules that match nothing": "; ".join(summary.get("notes", []))}
