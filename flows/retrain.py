"""From newer events to a decision, in one run."""

from typing import Any

from prefect import flow

from flows.review import review
from flows.score import score
from flows.search import SEARCHED, search
from flows.train import MODELS, train
from tasks.build_dataset import build_dataset, later_split
from tasks.find_due_searches import find_due_searches
from tasks.report import show
from tasks.review_models import UNDECIDED


@flow
def retrain(
    models: list[str] = MODELS,
    searched: list[str] = SEARCHED,
    trials: int | None = 20,
    minutes: float | None = 60,
    max_age_days: float = 30,
) -> dict[str, Any]:
    """Learn again from the events there are now: features, a search where one is due, train, review; and score, when
    nobody has to decide.

    Args:
        models: Kinds of model to train and compare.
        searched: Kinds of model whose settings are searched anew when they are old or users have moved.
        trials: How many settings a search tries of each model.
        minutes: How long searches may take together.
        max_age_days: How old a search may be.
    """
    manifest = build_dataset(*later_split())
    version = manifest["version"]
    due = find_due_searches(version, searched, max_age_days)
    show("due-searches", f"Searches that are due on {version}", [{"model": m, "reason": r} for m, r in due.items()])
    if due:  # one that finds nothing is a failed run on the page; what was known before is good enough to train
        search(version, list(due), trials=trials, minutes=minutes, return_state=True)
    train(version, models)
    result = review(version, models)
    batches = [] if result["status"] in UNDECIDED else score()
    return {"dataset_version": version, "due": due, "review": result, "batches": batches}
