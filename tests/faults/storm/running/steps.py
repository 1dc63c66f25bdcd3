"""Decisions, searches and trainings of the running shop in processes that may be stopped at each step and killed there.

Statements are steps after which a process stops, before it commits; events are steps before which it stops.
"""

import multiprocessing
import time
from itertools import count
from pathlib import Path
from typing import Final

from infra.installation import Installation, current
from infra.registry.client import Registry
from models.tuning.study_config import Budget, SearchPlan
from tasks.datasets.load_dataset import newest_version
from tasks.promotion.apply_decision import apply_decision
from tasks.promotion.review_requests import Decision
from tasks.review.review_models import review_models
from tasks.training.train_model import train_model
from tasks.tuning.search_model import search_model
from tests.faults.storm.conftest import PROGRAM, Run
from tests.faults.storm.publishing import Stop

DECISION_STATEMENTS = {
    "decision written": "^UPDATE reviews SET decision",
    "promotion written": "^INSERT INTO promotions",
    "alias noted": "^UPDATE promotions SET alias_synced_at",
}
DECISION_EVENTS = {
    "download": "http.client.send .*GET .*/artifacts.*arrays.npz",
    "copy": "^open .*incoming-.*npz",
    "rename": "^os.rename .*incoming-",
    "alias": "http.client.send .*POST .*/registered-models/alias",
    "tag": "http.client.send .*POST .*/model-versions/set-tag",
}
DECISION_STEPS = ("download", "copy", "rename", "decision written", "promotion written", "alias", "alias noted", "tag")
_FIRST: Final = 201
_MANY: Final = 12
"""The fewest households of which some have demographics; without any, the file of users would be refused."""
_CUTS: Final = 180


def decide(version: int, step: str | None, outcome: str) -> None:
    """Approve a version; stops at the step, if one is named, until the test lets it go on."""
    installation = current()
    Stop(step, Path(outcome), DECISION_STATEMENTS, DECISION_EVENTS).listen()
    answer = Decision(True, "ann", "a test", "command")
    apply_decision(installation, Registry(installation.endpoints.mlflow_tracking_uri), version, answer)


SEARCH_STATEMENTS = {
    "run of the search noted": "^INSERT INTO study_user_attributes",
    "trial ended": "^UPDATE trials SET state",
    "result stored": "^INSERT INTO search_results",
}
SEARCH_EVENTS = {
    "run of the search made": "http.client.send .*POST .*/runs/log-batch",
    "run of a trial made": "http.client.send .*POST .*/runs/update",
    "plots": "^open .*history.png",
}
SEARCH_STEPS = (*SEARCH_EVENTS, *SEARCH_STATEMENTS)
FEW_TRIALS = 3


def search(seed: int, step: str | None, outcome: str) -> None:
    """Search settings of `als`; stops at the step, if one is named, until the test lets it go on."""
    Stop(step, Path(outcome), SEARCH_STATEMENTS, SEARCH_EVENTS).listen()
    search_model.fn(newest_version(), "als", SearchPlan(seed=seed), Budget(FEW_TRIALS))


TRAINING_STATEMENTS = {
    "bundle recorded": "^INSERT INTO trained_bundles",
    "review asked for": "^INSERT INTO reviews",
}
TRAINING_EVENTS = {
    "run of the training made": "http.client.send .*POST .*/runs/log-batch",
    "artifacts": "http.client.send .*PUT .*/artifacts/.*arrays.npz",
    "run of the training closed": "http.client.send .*POST .*/runs/update",
    "version made": "http.client.send .*POST .*/model-versions/create",
    "challenger": "http.client.send .*POST .*/registered-models/alias",
    "verdict": "http.client.send .*POST .*/model-versions/set-tag",
}
TRAINING_STEPS = (
    *("run of the training made", "artifacts", "bundle recorded", "run of the training closed"),
    *("version made", "review asked for", "challenger", "verdict"),
)
KIND = "own_frequency"


def learn(seed: int, step: str | None, outcome: str) -> None:
    """Train with a seed and ask for a review; stops at the step, if one is named, until the test lets it go on."""
    Stop(step, Path(outcome), TRAINING_STATEMENTS, TRAINING_EVENTS).listen()
    version = newest_version()
    review_models.fn(version, [train_model.fn(version, KIND, seed=seed)])


class Work:
    """Calls of `function` (module and name) with a number, in processes that can be stopped at a step and killed."""

    def __init__(self, live: Installation, folder: Path, function: str) -> None:
        self._folder, self._numbers = folder, count(1)
        self._module, _, self._name = function.rpartition(".")
        self._context = multiprocessing.get_context("forkserver")
        self._environment = live.endpoints.environment | {"TAILORBIRD_VAR": str(live.settings.var)}

    def start(self, number: int, step: str | None = None) -> Run:
        """Start a process that works on the number, and stops at the step if one is given."""
        program = self._folder / f"{self._name}-{next(self._numbers)}.py"
        body = f"    from {self._module} import {self._name}\n    {self._name}({number}, {step!r}, outcome)"
        program.write_text(PROGRAM.format(environment=self._environment, body=body, rows=500, bytes=64_000))
        return Run(self._context, f"{self._name} {number} to {step}", str(program), program.with_suffix(".json"))

    def stopped(self, number: int, step: str) -> Run:
        """Start a process and wait until it has stopped at the step."""
        run = self.start(number, step)
        while not run.stopped():
            assert run.alive(), (step, run.outcome())
            time.sleep(0.005)
        return run

    def finish(self, number: int) -> None:
        """Finish the work."""
        outcome = self.start(number).outcome()
        assert outcome["kinds"] == [], outcome


def new_households(number: int) -> tuple[int, int]:
    """Return the first and the last id of a cut of the data; the storms have numbers of their own."""
    first = _FIRST + _MANY * (number % _CUTS)
    return first, first + _MANY - 1
