"""Compares candidates on the same held-out weeks and asks for a decision: nothing is promoted here."""

from collections.abc import Mapping

from prefect import task

from infra.bundles.promoted import verify_promoted
from infra.configuration.version import git_commit
from infra.database.schema.promotion_rows import Review
from infra.installation import Installation, current
from infra.locks.advisory_locks import locked
from infra.prefect_api import events
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_listing, check_version
from models.columns import USER_KEY
from models.evaluation.comparison.leaderboard import BASELINES, leaderboard
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.gate import decision
from models.gate.fairness_checks import Traits, demographics, dropped_traits
from models.gate.results import Check, GateResult, Outcome, gate_result, stored_outcome
from models.gate.review_summary import ReviewSummary
from models.gate.thresholds import GateThresholds
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key
from tasks.promotion.champion import Champion, current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.recorded_bundles import TrainedBundle, recorded, recorded_all
from tasks.promotion.review_requests import APPROVED, request, review_of
from tasks.promotion.verified_evaluations import evaluations_of
from tasks.review.publish_report import publish_review_report
from tasks.training.train_model import train_model

WAITS, REFUSED, STAYS = "waits for a decision", "refused by the gate", "the champion stays"
SWITCHED_OFF = "promotion is switched off"
UNDECIDED = (WAITS, REFUSED, SWITCHED_OFF)
"""After these nothing new answers shoppers."""


def _rival(installation: Installation, version: str, champion: Champion | None) -> str | None:
    """The run that stands for the champion on this data set: its own, or its settings learned on the same weeks.

    The run of a champion from before runs were recorded is trained again.
    """
    if champion is None:
        return None
    run_id = _run_of(champion)
    if champion["dataset_version"] == version and recorded(installation.engine, run_id):
        return run_id
    settings = verify_promoted(champion).parameters
    return str(train_model.fn(version, champion["kind"], settings))


def _run_of(champion: Champion) -> str:
    """The champion's training run; promotions of older versions have it in their bundle alone."""
    return str(champion["run_id"] or verify_promoted(champion).run_id)


def _register(installation: Installation, registry: Registry, bundle: TrainedBundle, tags: Mapping[str, str]) -> int:
    """Register the model that training recorded; returns its version. Raises BundleRefusedError for any other one."""
    number = register_once(installation, registry, bundle.run_id, tags)
    check_version(registry, registry.version(number), bundle.run_id)
    check_listing(registry, bundle.run_id, bundle.digest)
    return number


def best_of(evaluations: dict[str, Evaluation]) -> str:
    """The run with the highest mean NDCG at 10 among those that do not give everybody the same list."""
    personal = {r: e for r, e in evaluations.items() if e.summary["distinct_lists"] > 1} or evaluations
    return max(sorted(personal), key=lambda run_id: personal[run_id].summary[METRIC])


def judge(
    best: str,
    rival: str | None,
    evaluations: dict[str, Evaluation],
    kinds: dict[str, str],
    traits: Traits | None = None,
    limits: GateThresholds = GateThresholds(),  # noqa: B008 -- a frozen value
    promoted: Mapping[str, float] | None = None,
    dropped: Mapping[str, str] | None = None,
) -> GateResult:
    """Return the gate's verdict on the best candidate.

    A champion's own recipe on newer data is no opponent of itself. Its exposure is held against the champion's figures
    at its promotion, `promoted`. `dropped` are the traits that make no groups, and why.
    """
    baselines = {kinds[r]: e for r, e in evaluations.items() if kinds[r] in BASELINES}
    opponent = evaluations[rival] if rival and rival != best else None
    known = (promoted or {}) if rival else None
    gate = decision.decide(
        evaluations[best], baselines, opponent, 7, traits, limits, promoted=known, dropped=dropped
    )
    if rival == best:
        detail = "The champion's own recipe, learned again from newer data."
        gate = gate_result((*gate.checks, Check("renews the champion", 0.0, 0.0, Outcome.PASSED, detail)), gate.groups)
    return gate


@task(description="Choose the best candidate, put it through the gate, ask for a decision.")
@hold_pseudonym_key
def review_models(version: str, run_ids: list[str]) -> Review:
    """Review the training runs of a data set; returns the review, or the champion's when nothing is better.

    The best candidate that passes becomes `@challenger`. The reasons are stored either way.
    """
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    sync_aliases(installation.engine, registry)
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    rival = _rival(installation, version, champion)
    compared = list(dict.fromkeys([*run_ids, *([rival] if rival else [])]))
    trained = recorded_all(installation.engine, compared)
    evaluations = evaluations_of(installation.engine, registry, trained)
    kinds = {run_id: trained[run_id].kind for run_id in compared}
    names = {run_id: kinds[run_id] if run_id in run_ids else f"champion ({kinds[run_id]})" for run_id in compared}
    rows = leaderboard({names[run_id]: evaluation for run_id, evaluation in evaluations.items()})
    renewing = champion is not None and champion["dataset_version"] != version
    promoted = champion["metrics"] if champion else None
    best, gate = _choose(rival, renewing, evaluations, kinds, version, installation.settings.gate, promoted)
    if champion and best == rival and not renewing:
        return {"status": STAYS, "model_version": champion["model_version"], "ladder": rows, "gate": []}
    tags = {"dataset_version": version, "kind": kinds[best], "git_commit": git_commit()}
    against = champion["promotion_id"] if champion else 0
    number = _register(installation, registry, trained[best], tags)
    registry.untag_version(number, "review", "reviewer")  # said before anybody was asked
    review = request(installation, version, number, trained[best], gate, against)
    sync_aliases(installation.engine, registry)
    told = ReviewSummary(review["model_version"], best, rival, kinds, evaluations, version, gate)
    report = publish_review_report(installation, registry, told)
    review = review_of(installation, number)  # somebody may have decided while the report was made
    annotate_version(registry, review)
    status = _status(review, champion, installation.settings.review)
    if status == REFUSED:
        _alert(installation, review, report, champion)
    return {**review, "status": status, "ladder": rows, "report": report}


def register_once(installation: Installation, registry: Registry, run_id: str, tags: Mapping[str, str]) -> int:
    """Return the registered version of a run's model; callers at the same time get the same one.

    MLflow has no such promise: it would make a version for each of them, and nobody would review the others.
    """
    with locked(installation.engine, f"register run {run_id}", wait=True):
        return registry.register(run_id, tags)


def _alert(installation: Installation, review: Review, report: str, champion: Champion | None) -> None:
    failed = "; ".join(check["name"] for check in review["gate"] if stored_outcome(check) is Outcome.REFUSED)
    version = review["model_version"]
    stays = "The champion stays." if champion else "No model answers yet."
    said = {"reason": f"Version {version} was refused by the gate: {failed}. {stays}", "page": report}
    events.try_emit(installation.endpoints, events.GATE_REFUSED, f"tailorbird.model-version.{version}", said)


def _status(review: Review, champion: Champion | None, mode: str) -> str:
    if review["rolled_back"]:
        return "approved before, and rolled back since"
    if review["decision"] == APPROVED and champion and champion["promotion_id"] > review["against"]:
        return f"approved before, and version {champion['model_version']} answers now"
    if review["decision"]:
        return str(review["decision"])
    if not review["passed"]:
        return REFUSED
    return SWITCHED_OFF if mode == "never" else WAITS


def _choose(
    rival: str | None,
    renewing: bool,
    evaluations: dict[str, Evaluation],
    kinds: dict[str, str],
    version: str,
    limits: GateThresholds,
    promoted: Mapping[str, float] | None,
) -> tuple[str, GateResult]:
    """The best run and its verdict; on newer data a champion that is not beaten is at least renewed."""
    best = best_of(evaluations)
    users = open_dataset(version).users
    traits, dropped = demographics(users, evaluations[best].per_user[USER_KEY]), dropped_traits(users)
    gate = judge(best, rival, evaluations, kinds, traits, limits, promoted, dropped)
    if rival and renewing and not gate.passed:
        return rival, judge(rival, rival, evaluations, kinds, traits, limits, promoted, dropped)
    return best, gate
