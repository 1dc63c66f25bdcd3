"""A decision that is carried out in a process of its own, which may be stopped at each step and killed there."""

from pathlib import Path

from infra.installation import current
from infra.registry.client import Registry
from tasks.promotion.apply_decision import apply_decision
from tasks.promotion.review_requests import Decision
from tests.faults.storm.stop import Stop

STATEMENTS = {
    "decision written": "^UPDATE reviews SET decision",
    "promotion written": "^INSERT INTO promotions",
    "alias noted": "^UPDATE promotions SET alias_synced_at",
}
"""After these statements; none of them is committed then."""
EVENTS = {
    "download": "http.client.send .*GET .*/artifacts.*arrays.npz",
    "copy": "^open .*incoming-.*npz",
    "rename": "^os.rename .*incoming-",
    "alias": "http.client.send .*POST .*/registered-models/alias",
    "tag": "http.client.send .*POST .*/model-versions/set-tag",
}
"""Before these."""
STEPS = ("download", "copy", "rename", "decision written", "promotion written", "alias", "alias noted", "tag")
"""In their order."""


def decide(version: int, step: str | None, outcome: str) -> None:
    """Approve a version; stops at the step, if one is named, until the test lets it go on."""
    installation = current()
    Stop(step, Path(outcome), STATEMENTS, EVENTS).listen()
    answer = Decision(True, "ann", "a test", "command")
    apply_decision(installation, Registry(installation.endpoints.mlflow_tracking_uri), version, answer)
