"""Compares models and requests a decision."""

from prefect import flow

from flows.train import MODELS
from tasks.datasets.load_dataset import newest_version
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Models
from tasks.orchestration.run_artifacts import GATE, GROUPS, judged, show, show_leaderboard
from tasks.promotion.decide_review import decide_review, promotes_automatically
from tasks.review.outcomes import ReviewOutcome, ReviewResult
from tasks.review.review_models import announce_compared, review_models
from tasks.training.train_model import train_model


@flow(flow_run_name=run_names.flow_run_name(run_names.review))
def review(dataset_version: str | None = None, models: Models = MODELS) -> ReviewResult:
    """Compare models on the same test weeks; the best becomes the challenger if it passes the gate. A person decides.

    With TAILORBIRD_REVIEW=auto a version that passes is promoted immediately; with `never` nobody can promote one.

    Args:
        dataset_version: The data set; by default the newest.
        models: Kinds of model to compare; those not trained on this data set yet are trained now.
    """
    version = dataset_version or newest_version()
    _, untrained = announce_compared(version, models)
    run_ids = [train_model(version, kind) for kind in models]
    result: ReviewResult = {**review_models(version, run_ids), "trained": untrained}
    show_leaderboard(version, result["ladder"])
    show("gate", f"Version {result['model_version']}: {result['status']}", result["gate"], GATE)
    show("gate-by-group", "Results by group of people", judged(result.get("groups", [])), GROUPS)
    if result["status"] == ReviewOutcome.WAITING.status and promotes_automatically():
        reason = "It passed the gate, and reviews are automatic (TAILORBIRD_REVIEW=auto)."
        decided = decide_review(result["model_version"], True, "the gate", reason, via="auto")
        result = {**result, **decided, "status": decided["decision"] or result["status"]}
    return result
