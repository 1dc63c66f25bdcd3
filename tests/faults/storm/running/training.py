"""Training and review of a model in a process of its own, which may be stopped at each step and killed there."""

from pathlib import Path

from tasks.datasets.load_dataset import newest_version
from tasks.review.review_models import review_models
from tasks.training.train_model import train_model
from tests.faults.storm.stop import Stop

STATEMENTS = {
    "bundle recorded": "^INSERT INTO trained_bundles",
    "review asked for": "^INSERT INTO reviews",
}
"""After these statements; none of them is committed then."""
EVENTS = {
    "run of the training made": "http.client.send .*POST .*/runs/log-batch",
    "artifacts": "http.client.send .*PUT .*/artifacts/.*arrays.npz",
    "run of the training closed": "http.client.send .*POST .*/runs/update",
    "version made": "http.client.send .*POST .*/model-versions/create",
    "challenger": "http.client.send .*POST .*/registered-models/alias",
    "verdict": "http.client.send .*POST .*/model-versions/set-tag",
}
"""Before these."""
STEPS = (
    *("run of the training made", "artifacts", "bundle recorded", "run of the training closed"),
    *("version made", "review asked for", "challenger", "verdict"),
)
"""In their order."""
KIND = "own_frequency"


def learn(seed: int, step: str | None, outcome: str) -> None:
    """Train with a seed and ask for a review; stops at the step, if one is named, until the test lets it go on."""
    Stop(step, Path(outcome), STATEMENTS, EVENTS).listen()
    version = newest_version()
    review_models.fn(version, [train_model.fn(version, KIND, seed=seed)])
