"""Retrains on the newest events, from features to a decision, in one run."""

from prefect import flow

from flows.review import review
from flows.score import score
from flows.search import SEARCHED, search
from flows.train import MODELS, train
from models.datasets.acceptance import Acceptance
from models.tuning.retune_policy import MAX_MINUTES
from tasks.datasets.build_dataset import build_dataset, later_split
from tasks.monitoring.retraining.retrain_run import RetrainResult, retraining
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import show
from tasks.review.outcomes import leaves_lists
from tasks.tuning.best_settings import search_outcomes
from tasks.tuning.due_searches import find_due_searches


@flow(flow_run_name=run_names.flow_run_name(run_names.retrain))
def retrain(
    models: Models = MODELS,
    searched: list[str] = SEARCHED,
    trials: int | None = 20,
    minutes: float | None = MAX_MINUTES,
    max_age_days: float = 30,
    ignore_feed_check: bool = False,
    accept: list[str] = [],  # noqa: B006 -- read, never changed
    reason: str = "",
    accepted_by: str = "",
    request: int | None = None,
) -> RetrainResult:
    """Train again on all present events: features, due searches, train, review, and score if nobody has to decide.

    One run retrains at a time; another one ends immediately and names the first.

    Args:
        models: Kinds of model to train and compare.
        searched: Kinds of model whose settings are searched again if they are old or users have changed; only trained
            kinds count.
        trials: How many settings a search tries per model.
        minutes: How many minutes all searches may take together.
        max_age_days: After how many days a search is due again.
        ignore_feed_check: Retrain even if the newest drift report states that the feed is broken.
        accept: The checks that the data set may fail, by their names in the message of a refusal.
        reason: Why these checks may fail; it is recorded with the data set.
        accepted_by: The person who accepts; it is recorded too.
        request: Leave it empty. The drift automation and the reconciler pass the number of their request.
    """
    drop_missed_slots()
    accepted = Acceptance.of(accept, reason, accepted_by)
    with retraining(request, ignore_feed_check) as work:
        if work.claim is None:
            return work.result()
        version = work.step("features", build_dataset(*later_split(), accepted, return_state=True))["version"]
        due = find_due_searches(version, [kind for kind in searched if kind in models], max_age_days)
        show("due-searches", f"Searches that are due on {version}", [{"model": m, "reason": r} for m, r in due.items()])
        if due:  # a search without a result is a failed run; earlier settings are good enough to train
            results = search(version, list(due), trials=trials, minutes=minutes, return_state=True)
            work.step("search", results, needed=False)
        searches = search_outcomes(version, due)
        work.step("train", train(version, models, return_state=True))
        result = work.step("review", review(version, models, return_state=True))
        batches = [] if leaves_lists(result["status"]) else work.step("score", score(return_state=True))
        return work.result(result, dataset_version=version, due=due, searches=searches, batches=batches)
