"""Runs all steps on sample data in one run."""

from prefect import flow

from flows.decide import decide
from flows.features import features
from flows.ingest import ingest
from flows.review import review
from flows.score import score
from flows.search import search
from flows.train import MODELS, train
from models.primitives.json_types import JsonObject
from tasks.orchestration.demo_story import Story, publish_story
from tasks.orchestration.form_fields import Models
from tasks.review.outcomes import ReviewOutcome, ReviewResult, leaves_lists

SEARCHED = ["own_frequency"]


@flow(flow_run_name="demo {mapping}")
def demo(
    approve: bool = False,
    mapping: str = "complete_journey",
    location: str | None = None,
    searched: Models = SEARCHED,
    trials: int = 6,
    models: Models = MODELS,
) -> JsonObject:
    """Run all steps on real shopping data: ingest, features, search, train, review, decide, score.

    Args:
        approve: Approve the challenger. Without it the run ends at the review of a new one.
        mapping: The mapping to ingest.
        location: The folder of the files, if it is not that of the mapping.
        searched: Kinds of model to search, on the validation weeks; by default one with a fast fit, so that a first run
            takes minutes.
        trials: How many settings to try per model.
        models: Kinds of model to train and compare.
    """
    ledger = ingest(mapping, [location] if location else None)
    dataset = features(validation_days=30, test_days=31)
    version = dataset["version"]
    results = search(version, searched, trials=trials, folds=1)
    train(version, models)
    result: ReviewResult = review(version, models)
    if approve and result["status"] == ReviewOutcome.WAITING.status:
        reason = "approved by the demo's flag, not by a person"
        decided = decide("approve", "demo --approve", reason, result["model_version"])
        result = {**result, **decided, "status": ReviewOutcome.PROMOTED.status}
    batches = [] if leaves_lists(result["status"]) else score()
    publish_story(Story(ledger, dataset, results, result, batches))
    return {"ledger": ledger, "dataset_version": version, "search": results, "review": result, "batches": batches}
