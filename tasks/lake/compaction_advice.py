"""Advises compaction when the lake has many small files."""

from infra.installation import current
from infra.lake import compaction
from tasks.orchestration.run_artifacts import announce


def advise_compaction() -> None:
    """Announce the command that merges small files, if there are many of them."""
    table = current().lake.events()
    advice = compaction.advice(compaction.months(table)) if table is not None else None
    if advice:
        announce(advice)
