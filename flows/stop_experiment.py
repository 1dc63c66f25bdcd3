"""Stops an experiment."""

from prefect import flow

from models.primitives.json_types import JsonObject
from tasks.experiments.start_experiment import stop
from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import facts, show


@flow(flow_run_name="stop experiment {name}")
def stop_experiment(name: Words, actor: Words, reason: Words) -> JsonObject:
    """Stop an experiment: from the next answer on, everybody gets the placement's own lists.

    Args:
        name: The experiment.
        actor: The person who stops it; it is recorded.
        reason: The reason; it is recorded.
    """
    stopped = stop(name, actor, reason)
    show("experiment", f"The experiment {name} is {stopped['state']}", facts(stopped))
    return stopped
