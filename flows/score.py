"""Publishes recommendations."""

from typing import Any

from prefect import flow

from tasks.report_batches import report_batches
from tasks.score_placement import placements_to_score, score_placement


@flow
def score(placements: list[str] | None = None, k: int | None = None) -> list[dict[str, Any]]:
    """Make the lists of placements by the champion and publish each in Postgres, whole or not at all.

    Args:
        placements: Where lists are shown; by default all placements there are.
        k: Length of the lists, in place of what each placement says.
    """
    # One that is refused keeps none of the others from being published.
    states = [score_placement(name, k, return_state=True) for name in placements_to_score(placements)]
    report_batches([state.result() for state in states if state.is_completed()])
    return [state.result() for state in states]
