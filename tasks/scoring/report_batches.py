"""Fills the page of a scoring run: the published batches, and their lists by segment."""

from collections.abc import Sequence

from models.errors import TailorbirdError
from tasks.orchestration.run_artifacts import show, warn
from tasks.orchestration.table_columns import BATCHES, SEGMENTS, Row, batch_row


def report_batches(made: Sequence[Row | Exception]) -> list[Row]:
    """Show tables of the batches, of their ignored rules, and of each batch's lists by segment.

    Raises the errors of the other placements, in one message if a person can correct them.
    """
    batches = [batch for batch in made if not isinstance(batch, Exception)]
    errors = [error for error in made if isinstance(error, Exception)]
    show("batches", "Published lists", [batch_row(batch) for batch in batches], BATCHES)
    ignored = [{"placement": batch["placement"], "rule": note} for batch in batches for note in _notes(batch)]
    show("ignored-rules", "Rules that match nothing, and lists that cannot be full", ignored)
    for row in ignored:
        warn(f"{row['placement']}: {row['rule']}")
    for batch in batches:
        rows = batch["summary"].get("segments", [])
        if len(rows) > 1:
            show(f"lists-{batch['placement']}", f"Lists for {batch['placement']}, by segment", rows, SEGMENTS)
    for defect in (error for error in errors if not isinstance(error, TailorbirdError)):
        raise defect
    if errors:
        done = ", ".join(batch["placement"] for batch in batches) or "none"
        raise TailorbirdError(
            f"{' '.join(dict.fromkeys(map(str, errors)))} Placements with the champion's lists: {done}."
        )
    return batches


def _notes(batch: Row) -> list[str]:
    """Return the notes on rules of its placement that match nothing."""
    notes: list[str] = batch["summary"].get("notes", [])
    return notes
