"""Publishes a review: a report beside the run, the model card on the version, and links between pages."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow.compute as pc

from infra.installation import Installation
from infra.registry.client import Registry
from infra.registry.registered_bundles import signed_manifest
from models.columns import ITEM_ID, OCCURRED_AT, TITLE, USER_KEY
from models.datasets.dataset import Dataset
from models.evaluation.comparison.example_users import Example, examples
from models.evaluation.offline import Evaluation
from models.gate.model_card import ReviewedVersion, TrainingSummary, about, card, verdict
from models.gate.review_summary import ALL_ITEMS, NEW_ITEMS, THIS, ReviewSummary
from models.gate.weaknesses import weaknesses
from tasks.datasets.load_dataset import open_dataset
from tasks.orchestration import run_artifacts
from tasks.promotion.verified_evaluations import EVALUATION_PATH
from tasks.reports.plots.evaluation import plot_groups
from tasks.reports.review_page import Page, Plot, render

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
    store_report(registry, summary, dataset, links)
    registry.describe(summary.version, card(_subject(summary, dataset, links)))
    registry.tag_version(
        summary.version, {name: address for name, address in links.items() if name != run_artifacts.VERSION}
    )
    run_artifacts.show_links(links, f"version {summary.version}")
    return links[run_artifacts.REPORT]


def store_report(registry: Registry, summary: ReviewSummary, dataset: Dataset, links: run_artifacts.Links) -> None:
    """Write the report, with the plots of the training run, and add it to the run."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / FOLDER
        folder.mkdir()
        if summary.gate.groups:
            plot_groups(summary.gate.groups, summary.reference or "before", folder / _GROUPS)
        page = _page(registry, summary, dataset, links, Path(scratch))
        (folder / REPORT).write_text(render(page), encoding="utf-8")
        registry.log_folder(summary.run_id, folder, FOLDER)


def _page(
    registry: Registry, summary: ReviewSummary, dataset: Dataset, links: run_artifacts.Links, scratch: Path
) -> Page:
    plots = registry.download(summary.run_id, EVALUATION_PATH, scratch)
    manifest = signed_manifest(registry, summary.run_id)
    candidate, kind = summary.candidate, summary.kinds[summary.run_id]
    reference = summary.compared[summary.reference] if summary.reference else None
    people = examples(candidate, reference, dataset) if reference else []
    facts = {"data set": summary.dataset_version, "git commit": manifest.git_commit, "run": summary.run_id}
    return Page(
        version=summary.version,
        kind=kind,
        about=about(kind),
        material=material(dataset, summary.dataset_version, candidate).sentence,
        passed=summary.gate.passed,
        verdict=verdict(summary.version, summary.gate),
        checks=summary.gate.checks,
        models=list(summary.compared),
        reference=summary.reference,
        against=summary.reference_sentence,
        figures=summary.tables,
        groups=summary.gate.groups,
        plots=[Plot(title, hint, plots / f"{name}.png") for name, (title, hint) in _PLOTS.items()],
        group_plot=Plot("Differences by group", "", scratch / FOLDER / _GROUPS),
        examples=people,
        titles=titles(dataset, people),
        limits=weaknesses(candidate.summary, summary.gate),
        facts=facts | {"seed": str(manifest.seed)},
        settings={name: str(value) for name, value in sorted(manifest.parameters.items())},
        libraries=dict(sorted(manifest.libraries.items())),
        links={run_artifacts.TEXTS[name]: address for name, address in links.items() if name != run_artifacts.REPORT},
    )


def _subject(summary: ReviewSummary, dataset: Dataset, links: run_artifacts.Links) -> ReviewedVersion:
    candidate = summary.candidate
    return ReviewedVersion(
        version=summary.version,
        kind=summary.kinds[summary.run_id],
        candidate=THIS,
        reference=summary.reference,
        material=material(dataset, summary.dataset_version, candidate),
        lines=[*summary.tables[ALL_ITEMS], *summary.tables[NEW_ITEMS]],
        gains=summary.gains(),
        summary=candidate.summary,
        gate=summary.gate,
        links=run_artifacts.markdown(
            {name: address for name, address in links.items() if name != run_artifacts.VERSION}
        ),
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
