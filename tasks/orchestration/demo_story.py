"""Puts one page with the results of all steps of a demo run, and links to them, on the flow run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from infra.installation import Installation, current
from infra.registry.client import Registry
from models.columns import LEDGER
from models.evaluation.comparison import tables
from models.evaluation.metrics.ranking import METRIC
from models.gate.results import Outcome, stored_outcome
from models.primitives.escaping import for_markdown
from tasks.orchestration.run_artifacts import BATCHES, Row, batch_row, docs_page, in_order, markdown_table, safe_rows

_LISTS: Final = {name: BATCHES[name] for name in ("status", "placement", "users", "recommendations", "coverage")}


@dataclass(frozen=True)
class Story:
    """The results of the steps."""

    ledger: Sequence[Row]
    dataset: Row
    searches: Sequence[Row]
    review: Row
    batches: Sequence[Row]


def publish_story(story: Story) -> None:
    """Put the page on the flow run; do nothing outside of a run."""
    if FlowRunContext.get() is not None:
        create_markdown_artifact(markdown(current(), story), key="story", description="From the files to the lists")


def markdown(installation: Installation, story: Story) -> str:
    """Return the page: the verdict, then a section for each step."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    version = story.dataset["version"]
    sections = {
        "Ledger: the result for every row": _table(_ledger(installation, story.ledger)),
        "The data set": _dataset(installation, story.dataset),
        "Searched settings": _table(
            [{"model": row["model"], "tried": len(row["tried"]), "MLflow": row["page"]} for row in story.searches]
        ),
        f"Models on the test weeks of {version}": _models(registry, story.review),
        "The review": _review(registry, story.review),
        "Published lists": _table(in_order([batch_row(batch) for batch in story.batches], _LISTS)),
    }
    body = "\n\n".join(f"## {for_markdown(title)}\n\n{text}" for title, text in sections.items() if text)
    return f"{_verdict(story)}\n\n{body}"


def _verdict(story: Story) -> str:
    review = story.review
    best = max(review["ladder"], key=lambda row: row[METRIC] or 0)["model"]
    names = ", ".join(str(batch["placement"]) for batch in story.batches)
    lists = f"Lists are live: {names}." if names else "No lists were published."
    verdict = f"Version {review['model_version']}: {review['status']}. {best} is best by NDCG. {lists}"
    return f"**{for_markdown(verdict)}**"


def _ledger(installation: Installation, ledger: Sequence[Row]) -> list[Row]:
    rows: list[Row] = []
    for line in ledger:
        page = docs_page(installation, str(line["batch_id"]))
        first = {"status": line["status"], "dataset": line["dataset"]}
        rows.append({**first, **{name: f"{line[name]:,}" for name in LEDGER}, "Data Docs": page})
    return rows


def _dataset(installation: Installation, dataset: Row) -> str:
    rows = dataset["rows"]
    names = ("interactions", "users", "items")
    counts = ", ".join(f"{rows[name]:,} {name}" for name in names if name in rows)
    page = docs_page(installation, dataset["version"])
    link = f" The results of Great Expectations are in its [Data Docs]({page})." if page else ""
    return f"{for_markdown(dataset['version'])}: {counts}.{link}"


def _models(registry: Registry, review: Row) -> str:
    text = _table(next(iter(tables(review["ladder"]).values()), []))
    return f"{text}\n\n[All figures of all models in MLflow]({registry.experiment_page()})"


def _review(registry: Registry, review: Row) -> str:
    outcomes = [stored_outcome(check) for check in review["gate"]]
    counts = ", ".join(f"{outcomes.count(one)} {one.value}" for one in Outcome if one in outcomes)
    page = registry.version_page(review["model_version"])
    links = [f"[the model version]({page})"]
    links += [f"[the report for reviewers]({review['report']})"] if review.get("report") else []
    decision = (
        f" {for_markdown(review['reviewer'])}: {for_markdown(review['reason'])}" if review.get("reviewer") else ""
    )
    checks = f"Checks of the gate: {counts}.{decision}" if counts else "Nothing is better than the champion."
    return f"{checks}\n\nSee {', '.join(links)}."


def _table(rows: Sequence[Row]) -> str:
    return markdown_table(safe_rows(rows))
