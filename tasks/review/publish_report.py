"""Tells reviewers what they decide about: a report beside the run, the model card on the version, links."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

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
from tasks.orchestration import page_links
from tasks.promotion.verified_evaluations import EVALUATION_PATH
from tasks.reports.plots.fairness import plot_groups
from tasks.reports.review_page import Page, Plot, render

FOLDER, REPORT = "review", "report.html"
_GROUPS: Final = "groups.png"
_PLOTS: Final = {
    "calibration": ("Calibration", "Points on the line: of the items predicted at 30 %, 30 % were bought."),
    "overfit_check": ("Over-fit", "The same people on purchases that the model has learned from and on held-out ones. "
                      "Some gap is no fault: whoever counts purchases knows the last ones by heart."),
    "learning_curve": ("Learning curve", "The same people, when the model learns from fewer of all. Models that take "
                       "long to fit have none."),
    "ndcg_spread": ("Spread over people", "Is a good mean good for many people, or very good for few?"),
    "feature_importance": ("What the scores are made of", "How far each feature moves the score of what is shown; in "
                           "brackets what it adds on average. Not what makes people buy."),
}  # fmt: skip


def publish_review_report(installation: Installation, registry: Registry, found: ReviewSummary) -> str:
    """Store the report with the run, describe and tag the version, link all from the Prefect run; returns the report's
    address in MLflow."""
    dataset = open_dataset(found.dataset_version)
    ways = page_links.of_version(installation, registry, found.version, found.run_id, found.dataset_version)
    ways[page_links.REPORT] = registry.artifact_page(found.run_id, f"{FOLDER}/{REPORT}")
    store_report(registry, found, dataset, ways)
    registry.describe(found.version, card(_subject(found, dataset, ways)))
    registry.tag_version(found.version, {name: address for name, address in ways.items() if name != page_links.VERSION})
    page_links.show_links(ways, f"version {found.version}")
    return ways[page_links.REPORT]


def store_report(registry: Registry, found: ReviewSummary, dataset: Dataset, ways: page_links.Links) -> None:
    """Write the page beside what the training run already has, and add it to the run."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / FOLDER
        folder.mkdir()
        if found.gate.groups:
            plot_groups(found.gate.groups, found.reference or "before", folder / _GROUPS)
        page = _page(registry, found, dataset, ways, Path(scratch))
        (folder / REPORT).write_text(render(page), encoding="utf-8")
        registry.log_folder(found.run_id, folder, FOLDER)


def _page(registry: Registry, found: ReviewSummary, dataset: Dataset, ways: page_links.Links, scratch: Path) -> Page:
    plots = registry.download(found.run_id, EVALUATION_PATH, scratch)
    manifest = signed_manifest(registry, found.run_id)
    mine, kind = found.candidate, found.kinds[found.run_id]
    reference = found.compared[found.reference] if found.reference else None
    people = examples(mine, reference, dataset) if reference else []
    facts = {"data set": found.dataset_version, "git commit": manifest.git_commit, "run": found.run_id}
    return Page(
        version=found.version,
        kind=kind,
        about=about(kind),
        material=material(dataset, found.dataset_version, mine).sentence,
        passed=found.gate.passed,
        verdict=verdict(found.version, found.gate),
        checks=found.gate.checks,
        models=list(found.compared),
        reference=found.reference,
        against=found.reference_sentence,
        figures=found.tables,
        groups=found.gate.groups,
        plots=[Plot(title, said, plots / f"{name}.png") for name, (title, said) in _PLOTS.items()],
        group_plot=Plot("Differences by group", "", scratch / FOLDER / _GROUPS),
        examples=people,
        titles=titles(dataset, people),
        limits=weaknesses(mine.summary, found.gate),
        facts=facts | {"seed": str(manifest.seed)},
        settings={name: str(value) for name, value in sorted(manifest.parameters.items())},
        libraries=dict(sorted(manifest.libraries.items())),
        links={page_links.TEXTS[name]: address for name, address in ways.items() if name != page_links.REPORT},
    )


def _subject(found: ReviewSummary, dataset: Dataset, ways: page_links.Links) -> ReviewedVersion:
    mine = found.candidate
    return ReviewedVersion(
        version=found.version,
        kind=found.kinds[found.run_id],
        candidate=THIS,
        reference=found.reference,
        material=material(dataset, found.dataset_version, mine),
        lines=[*found.tables[ALL_ITEMS], *found.tables[NEW_ITEMS]],
        gains=found.gains(),
        summary=mine.summary,
        gate=found.gate,
        links=page_links.markdown({name: address for name, address in ways.items() if name != page_links.VERSION}),
    )


def material(dataset: Dataset, version: str, evaluation: Evaluation) -> TrainingSummary:
    """What the version has learned from."""
    rows, cuts = dataset.interactions, dataset.cuts
    users, items = (pc.count_distinct(rows[name]).as_py() for name in (USER_KEY, ITEM_ID))
    counts = dataset.manifest.get("refunds", {})
    refunds = counts.get("matched", 0), counts.get("unmatched", 0)
    began = int(pc.min(rows[OCCURRED_AT]).as_py() or cuts.test_from)
    measured, traits = evaluation.per_user.num_rows, tuple(dataset.manifest.get("traits", ()))
    return TrainingSummary(version, began, cuts.test_from, cuts.as_of, users, items, measured, traits, refunds)


def titles(dataset: Dataset, people: list[Example]) -> dict[str, str]:
    """Of the items that these people were shown or bought."""
    wanted: Any = {
        item for one in people for items in (one.candidate.items, one.reference.items, one.bought) for item in items
    }
    rows = dataset.items.filter(pc.is_in(dataset.items[ITEM_ID], value_set=pc.cast(sorted(wanted), "string")))
    return dict(zip(rows[ITEM_ID].to_pylist(), rows[TITLE].to_pylist(), strict=True))
