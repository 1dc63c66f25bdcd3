"""Compares candidates on the same held-out weeks and asks for a decision; it promotes nothing."""

from collections.abc import Mapping, Sequence
from typing import cast

from prefect import task

from infra.bundles.promoted import verify_promoted
from infra.configuration.version import git_commit
from infra.database.schema.promotion_rows import Review
from infra.installation import Installation, current
from infra.locks import locked
from infra.prefect_api import events
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_listing, check_version
from models.evaluation.comparison.leaderboard import leaderboard
from models.gate.results import Outcome, stored_outcome
from models.gate.review_summary import ReviewSummary, compared_sentences
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.run_artifacts import announce
from tasks.promotion.champion import Champion, current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.recorded_bundles import TrainedBundle, recorded, recorded_all, trained_kinds
from tasks.promotion.review_requests import APPROVED, request, review_of
from tasks.promotion.verified_evaluations import evaluations_of
from tasks.review.choose_candidate import choose_candidate
from tasks.review.outcomes import ReviewOutcome, ReviewResult
from tasks.review.publish_report import publish_review_report
from tasks.training.train_model import finished_run, run_key, settings_of, train_model


def announce_compared(version: str, kinds: Sequence[str], seed: int = 7) -> tuple[str, list[str]]:
    """Print which models are compared, trained now and left out; returns the text and the kinds to train."""
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    keys = {kind: run_key(version, kind, settings_of(installation, version, kind)[0], seed) for kind in kinds}
    trained = {kind: finished_run(installation, registry, key) is not None for kind, key in keys.items()}
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    compared = {*kinds, *([champion["kind"]] if champion else [])}
    omitted = [kind for kind in trained_kinds(installation.engine, version) if kind not in compared]
    sentences = compared_sentences(version, trained, champion["model_version"] if champion else None, omitted)
    announce(sentences)
    return sentences, [kind for kind, finished in trained.items() if not finished]


def _champion_run(installation: Installation, version: str, champion: Champion | None) -> str | None:
    """Return the run that represents the champion on this data set.

    It is the champion's own run, or a new one with its settings if the data set differs or no run was recorded.
    """
    if champion is None:
        return None
    run_id = _run_of(champion)
    if champion["dataset_version"] == version and recorded(installation.engine, run_id):
        return run_id
    settings = verify_promoted(champion).parameters
    return str(train_model.fn(version, champion["kind"], settings))


def _run_of(champion: Champion) -> str:
    """Return the champion's training run; for promotions of older versions only the bundle names it."""
    return str(champion["run_id"] or verify_promoted(champion).run_id)


@task(description="Choose the best candidate, put it through the gate, ask for a decision.")
@hold_pseudonym_key
def review_models(version: str, run_ids: list[str]) -> ReviewResult:
    """Review the training runs of a data set. If no candidate is better, the result is about the champion.

    The best candidate that passes becomes `@challenger`. The gate's reasons are stored in both cases.
    """
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    sync_aliases(installation.engine, registry)
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    champion_run = _champion_run(installation, version, champion)
    compared = list(dict.fromkeys([*run_ids, *([champion_run] if champion_run else [])]))
    trained = recorded_all(installation.engine, compared)
    evaluations = evaluations_of(installation.engine, registry, trained)
    kinds = {run_id: trained[run_id].kind for run_id in compared}
    names = {run_id: kinds[run_id] if run_id in run_ids else f"champion ({kinds[run_id]})" for run_id in compared}
    rows = leaderboard({names[run_id]: evaluation for run_id, evaluation in evaluations.items()})
    renewing = champion is not None and champion["dataset_version"] != version
    promoted = champion["metrics"] if champion else None
    best, gate = choose_candidate(
        champion_run, renewing, evaluations, kinds, version, installation.settings.gate, promoted
    )
    if champion and best == champion_run and not renewing:
        status = ReviewOutcome.CHAMPION_KEPT.status
        return {"status": status, "model_version": champion["model_version"], "ladder": rows, "gate": []}
    tags = {"dataset_version": version, "kind": kinds[best], "git_commit": git_commit()}
    against = champion["promotion_id"] if champion else 0
    number = register_version(installation, registry, trained[best], tags)
    registry.untag_version(number, "review", "reviewer")  # tags from before this request are no decision
    review = request(installation, version, number, trained[best], gate, against)
    sync_aliases(installation.engine, registry)
    summary = ReviewSummary(review["model_version"], best, champion_run, kinds, evaluations, version, gate)
    report = publish_review_report(installation, registry, summary)
    review = review_of(installation, number)  # a decision may have come while the report was made
    annotate_version(registry, review)
    status = _status(review, champion, installation.settings.review)
    if status == ReviewOutcome.REFUSED.status:
        _alert(installation, review, report, champion)
    return cast(ReviewResult, {**review, "status": status, "ladder": rows, "report": report})


def register_version(
    installation: Installation, registry: Registry, bundle: TrainedBundle, tags: Mapping[str, str]
) -> int:
    """Register the model that training recorded; returns its version. Raises BundleRefusedError for another model."""
    number = _register_once(installation, registry, bundle.run_id, tags)
    check_version(registry, registry.version(number), bundle.run_id)
    check_listing(registry, bundle.run_id, bundle.digest)
    return number


def _register_once(installation: Installation, registry: Registry, run_id: str, tags: Mapping[str, str]) -> int:
    """Return the registered version of a run's model; concurrent callers get the same version.

    MLflow alone would register a version for each caller, and all but one would never be reviewed.
    """
    with locked(installation.engine, f"register run {run_id}", wait=True):
        return registry.register(run_id, tags)


def _alert(installation: Installation, review: Review, report: str, champion: Champion | None) -> None:
    failed = "; ".join(check["name"] for check in review["gate"] if stored_outcome(check) is Outcome.REFUSED)
    version = review["model_version"]
    consequence = "The champion stays." if champion else "No model answers yet."
    payload = {"reason": f"Version {version} was refused by the gate: {failed}. {consequence}", "page": report}
    events.try_emit(installation.endpoints, events.GATE_REFUSED, f"tailorbird.model-version.{version}", payload)


def _status(review: Review, champion: Champion | None, mode: str) -> str:
    if review["rolled_back"]:
        return "approved before, and rolled back since"
    if review["decision"] == APPROVED and champion and champion["promotion_id"] > review["reference_promotion_id"]:
        return f"approved before, and version {champion['model_version']} answers now"
    if review["decision"]:
        return review["decision"]
    if not review["passed"]:
        return ReviewOutcome.REFUSED.status
    return (ReviewOutcome.SWITCHED_OFF if mode == "never" else ReviewOutcome.WAITING).status
