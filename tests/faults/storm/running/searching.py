"""A search in a process of its own, which may be stopped at each step and killed there."""

from pathlib import Path

from models.tuning.study_config import Budget, SearchPlan
from tasks.datasets.load_dataset import newest_version
from tasks.tuning.search_model import search_model
from tests.faults.storm.stop import Stop

STATEMENTS = {
    "run of the search noted": "^INSERT INTO study_user_attributes",
    "trial ended": "^UPDATE trials SET state",
    "result stored": "^INSERT INTO search_results",
}
"""After these statements; none of them is committed then."""
EVENTS = {
    "run of the search made": "http.client.send .*POST .*/runs/log-batch",
    "run of a trial made": "http.client.send .*POST .*/runs/update",
    "plots": "^open .*history.png",
}
"""Before these."""
STEPS = (*EVENTS, *STATEMENTS)
TRIALS = 3


def search(seed: int, step: str | None, outcome: str) -> None:
    """Search settings of `als`; stops at the step, if one is named, until the test lets it go on."""
    Stop(step, Path(outcome), STATEMENTS, EVENTS).listen()
    search_model.fn(newest_version(), "als", SearchPlan(seed=seed), Budget(TRIALS))
