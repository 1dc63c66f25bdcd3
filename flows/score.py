"""Publishes recommendations."""

from prefect import flow

from tasks.lake.event_engine import shared_reads
from tasks.orchestration import run_names
from tasks.orchestration.run_artifacts import Row
from tasks.scoring.batch_work import one_bundle
from tasks.scoring.score_placement import placements_to_score, report_batches, request_segment, score_placement


@flow(flow_run_name=run_names.flow_run_name(run_names.score))
def score(placements: list[str] | None = None, k: int | None = None, segment: str | None = None) -> list[Row]:
    """Make the lists of placements with the champion, and publish each placement completely or not at all.

    Args:
        placements: The placements; by default all.
        k: The length of the lists; by default that of each placement.
        segment: Instead, ask consumers to score the live lists of this segment's users again.
    """
    if segment is not None:
        return [{**request_segment(segment)}]
    names = placements_to_score(placements)
    with one_bundle(), shared_reads():
        # A refused placement does not stop the others.
        states = [score_placement(name, k, return_state=True) for name in names]
    return report_batches([state.result(raise_on_failure=False) for state in states])
