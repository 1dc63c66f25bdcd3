"""Compares candidates on the same held-out weeks and asks for a decision; it promotes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

import numpy as np
import pyarrow.compute as pc
from prefect import task

from infra.bundles.manifest import Manifest
from infra.bundles.promoted import verify_promoted
from infra.configuration.version import git_commit
from infra.database.schema.promotion_rows import Review
from infra.installation import Installation, current
from infra.prefect_api import events
from infra.registry.client import Registry
from infra.registry.registered_bundles import signed_manifest
from models.columns import ITEM_ID, OCCURRED_AT, TITLE, USER_KEY
from models.datasets.dataset import Dataset
from models.evaluation.comparison import baseline_figures, leaderboard
from models.evaluation.example_users import Example, examples
from models.evaluation.metrics.bootstrap import ITEM_KINDS
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.gate import decision
from models.gate.fairness_checks import Traits, demographics, dropped_traits
from models.gate.model_card import (
    ReviewSummary,
    TrainingSummary,
    card,
    compared_sentences,
)
from models.gate.results import Check, GateResult, Outcome, gate_result, stored_outcome
from models.gate.thresholds import GateThresholds
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration import run_artifacts
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.run_artifacts import announce
from tasks.promotion.champion import Champion, current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.recorded_bundles import (
    EVALUATION_PATH,
    evaluations_of,
    recorded,
    recorded_all,
    register_version,
    trained_kinds,
)
from tasks.promotion.review_requests import APPROVED, request, review_of
from tasks.reports.evaluation_plots import plot_groups
from tasks.reports.review_page import Page, Plot, render
from tasks.review.outcomes import ReviewOutcome, ReviewResult
from tasks.training.train_model import finished_run, run_key, train_model
from tasks.tuning.best_settings import settings_of


def choose_candidate(
    champion_run: str | None,
    renewing: bool,
    evaluations: dict[str, Evaluation],
    kinds: dict[str, str],
    version: str,
    limits: GateThresholds,
    promoted: Mapping[str, float] | None,
) -> tuple[str, GateResult]:
    """Return the best run and its verdict; on newer data an unbeaten champion is reviewed for renewal."""
    best = best_of(evaluations)
    users = open_dataset(version).users
    traits, dropped = demographics(users, evaluations[best].per_user[USER_KEY]), dropped_traits(users)
    gate = judge_candidate(best, champion_run, evaluations, kinds, traits, limits, promoted, dropped)
    if champion_run and renewing and not gate.passed:
        return champion_run, judge_candidate(
            champion_run, champion_run, evaluations, kinds, traits, limits, promoted, dropped
        )
    return best, gate


def best_of(evaluations: dict[str, Evaluation]) -> str:
    """Return the best run among the personalized models, or among all if there are none.

    Its NDCG@10, as a share of the best model's, is the highest on average over all items, new items and repeat
    purchases. The gate compares all three, and would refuse a model that ranks only some of them well.
    """
    personal = {r: e for r, e in evaluations.items() if e.summary["distinct_lists"] > 1} or evaluations
    shares = dict.fromkeys(sorted(personal), 0.0)
    for prefix in ITEM_KINDS:
        values = {run_id: personal[run_id].summary.get(prefix + METRIC, 0.0) for run_id in shares}
        best = np.nanmax([0.0, *values.values()])
        shares = {run_id: share + (values[run_id] / best if best > 0 else 0.0) for run_id, share in shares.items()}
    return max(shares, key=lambda run_id: shares[run_id])


def judge_candidate(
    best: str,
    champion_run: str | None,
    evaluations: dict[str, Evaluation],
    kinds: dict[str, str],
    traits: Traits | None = None,
    limits: GateThresholds = GateThresholds(),  # noqa: B008 -- a frozen value
    promoted: Mapping[str, float] | None = None,
    dropped: Mapping[str, str] | None = None,
) -> GateResult:
    """Return the gate's verdict on the best candidate.

    A candidate with the champion's own settings is not compared with itself. Exposure is compared with `promoted`, the
    champion's figures at its promotion. `dropped` are the traits that form no groups, with the reasons.
    """
    others = {kinds[run]: evaluation for run, evaluation in evaluations.items() if run != champion_run or run == best}
    opponent = evaluations[champion_run] if champion_run and champion_run != best else None
    known = (promoted or {}) if champion_run else None
    gate = decision.decide(evaluations[best], others, opponent, 7, traits, limits, promoted=known, dropped=dropped)
    if champion_run == best:
        detail = "The champion's own recipe, learned again from newer data."
        gate = gate_result((*gate.checks, Check("renews the champion", 0.0, 0.0, Outcome.PASSED, detail)), gate.groups)
    return gate


FOLDER, REPORT = "review", "report.html"
_GROUPS: Final = "groups.png"
_PLOTS: Final = {
    "calibration": ("Calibration", "A point on the line means that 30 % of the items predicted at 30 % were bought."),
    "overfit_check": ("Over-fit", "The same people on purchases of the training data and on held-out ones. A small gap "
                      "is normal, because a model that counts purchases knows the last ones exactly."),
    "learning_curve": ("Learning curve", "The same people, with a model that learns from fewer users. Models that are "
                       "slow to fit have none."),
    "ndcg_spread": ("Spread over people", "Is a good mean good for many people, or very good for few?"),
    "feature_importance": ("Feature importance", "How far each feature moves the score of shown items; in brackets "
                           "its mean contribution. This is no cause of purchases."),
}  # fmt: skip


def publish_review_report(installation: Installation, registry: Registry, summary: ReviewSummary) -> str:
    """Store the report with the run, describe and tag the version, and link both from the Prefect run.

    Returns the report's address in MLflow.
    """
    dataset = open_dataset(summary.dataset_version)
    links = run_artifacts.of_version(installation, registry, summary.version, summary.run_id, summary.dataset_version)
    links[run_artifacts.REPORT] = registry.artifact_page(summary.run_id, f"{FOLDER}/{REPORT}")
    learned = material(dataset, summary.dataset_version, summary.candidate)
    manifest = signed_manifest(registry, summary.run_id)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / FOLDER
        folder.mkdir()
        if summary.gate.groups:
            plot_groups(summary.gate.groups, summary.reference or "before", folder / _GROUPS)
        page = _page(registry, summary, manifest, dataset, learned.sentence, links, Path(scratch))
        (folder / REPORT).write_text(render(page), encoding="utf-8")
        registry.log_folder(summary.run_id, folder, FOLDER)
    others = {name: address for name, address in links.items() if name != run_artifacts.VERSION}
    registry.describe(summary.version, card(summary, learned, run_artifacts.markdown(others), manifest.heads))
    registry.tag_version(summary.version, others)
    run_artifacts.show_links(links, f"version {summary.version}")
    return links[run_artifacts.REPORT]


def _page(
    registry: Registry,
    summary: ReviewSummary,
    manifest: Manifest,
    dataset: Dataset,
    learned: str,
    links: run_artifacts.Links,
    scratch: Path,
) -> Page:
    plots = registry.download(summary.run_id, EVALUATION_PATH, scratch)
    reference = summary.compared[summary.reference] if summary.reference else None
    people = examples(summary.candidate, reference, dataset) if reference else []
    facts = {"data set": summary.dataset_version, "git commit": manifest.git_commit, "run": summary.run_id}
    facts |= {f"ranks for {policy}": head for policy, head in manifest.heads.items()}
    return Page(
        version=summary,
        material=learned,
        plots=[Plot(title, hint, plots / f"{name}.png") for name, (title, hint) in _PLOTS.items()],
        group_plot=Plot("Differences by group", "", scratch / FOLDER / _GROUPS),
        examples=people,
        titles=titles(dataset, people),
        facts=facts | {"seed": str(manifest.seed)},
        settings={name: str(value) for name, value in sorted(manifest.parameters.items())},
        libraries=dict(sorted(manifest.libraries.items())),
        links={run_artifacts.TEXTS[name]: address for name, address in links.items() if name != run_artifacts.REPORT},
    )


def material(dataset: Dataset, version: str, evaluation: Evaluation) -> TrainingSummary:
    """Return the training data of the version."""
    rows, cuts = dataset.interactions, dataset.cuts
    users, items = (pc.count_distinct(rows[name]).as_py() for name in (USER_KEY, ITEM_ID))
    counts = dataset.manifest.get("refunds", {})
    refunds = counts.get("matched", 0), counts.get("unmatched", 0)
    began = int(pc.min(rows[OCCURRED_AT]).as_py() or cuts.test_from)
    measured, traits = evaluation.per_user.num_rows, tuple(dataset.manifest.get("traits", ()))
    return TrainingSummary(version, began, cuts.test_from, cuts.as_of, users, items, measured, traits, refunds)


def titles(dataset: Dataset, people: list[Example]) -> dict[str, str]:
    """Return the titles of the items that these people were shown or bought."""
    item_ids = {
        item
        for person in people
        for items in (person.candidate.items, person.reference.items, person.bought)
        for item in items
    }
    rows = dataset.items.filter(pc.is_in(dataset.items[ITEM_ID], value_set=pc.cast(sorted(item_ids), "string")))
    return dict(zip(rows[ITEM_ID].to_pylist(), rows[TITLE].to_pylist(), strict=True))


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
    run_id = str(champion["run_id"] or verify_promoted(champion).run_id)  # older promotions lack it
    if champion["dataset_version"] == version and recorded(installation.engine, run_id):
        return run_id
    settings = verify_promoted(champion).parameters
    return str(train_model.fn(version, champion["kind"], settings))


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
    named = {names[run_id]: evaluation for run_id, evaluation in evaluations.items()}
    rows = leaderboard(named)
    renewing = champion is not None and champion["dataset_version"] != version
    promoted = champion["metrics"] if champion else None
    best, gate = choose_candidate(
        champion_run, renewing, evaluations, kinds, version, installation.settings.gate, promoted
    )
    if champion and best == champion_run and not renewing:
        status = ReviewOutcome.CHAMPION_KEPT.status
        kept = {"status": status, "model_version": champion["model_version"], "ladder": rows, "gate": []}
        return cast(ReviewResult, kept)
    registry.log(best, baseline_figures(named) | gate.figures)
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
