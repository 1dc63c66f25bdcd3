"""Reads the running experiments."""

from prefect import flow

from models.primitives.json_types import JsonObject
from tasks.experiments.read_experiment import experiments_to_read, read_experiment
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import show


@flow(flow_run_name="read experiments")
def experiments(name: str | None = None) -> list[JsonObject]:
    """Read what running experiments have shown, stop those that violate a guardrail, and publish the reports.

    Args:
        name: One experiment, which may have ended; by default all that run.
    """
    drop_missed_slots()
    readouts = [read_experiment(one) for one in (experiments_to_read() if name is None else [name])]
    for readout in readouts:
        show(f"experiment-{readout['experiment']}", f"The experiment {readout['experiment']}", readout["metrics"])
    return readouts
