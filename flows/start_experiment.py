"""Starts an experiment."""

from prefect import flow

from models.primitives.json_types import JsonObject
from tasks.experiments.start_experiment import begin, prepare_experiment
from tasks.lake.event_engine import shared_reads
from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import facts, show
from tasks.scoring.batch_work import one_bundle
from tasks.scoring.score_placement import report_batches, score_placement


@flow(flow_run_name="start experiment {name}")
def start_experiment(name: Words, actor: Words) -> JsonObject:
    """Publish the lists of an experiment's variants, then assign people to them.

    Args:
        name: The experiment in the file of experiments.
        actor: The person who starts it; it is recorded.
    """
    placements = prepare_experiment(name, actor)
    with one_bundle(), shared_reads():
        states = [score_placement(placement, return_state=True) for placement in placements]
    report_batches([state.result(raise_on_failure=False) for state in states])
    started = begin(name)
    show("experiment", f"The experiment {name} runs", facts(started))
    return started
