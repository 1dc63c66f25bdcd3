"""One page that tells what a run from the files to the lists came to, with links to all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from infra.installation import Installation, current
from infra.registry.client import Registry
from models.columns import LEDGER
from models.evaluation.comparison.leaderboard_tables import tables
from models.evaluation.metrics.ranking import METRIC
from models.gate.results import Outcome, stored_outcome
from models.primitives.escaping import for_markdown
from tasks.orchestration.page_links import docs_page
from tasks.orchestration.run_artifacts import markdown_table, safe_rows
from tasks.orchestration.table_columns import BATCHES, batch_line, in_order

Row = Mapping[str, Any]
_LISTS: Final = {name: BATCHES[name] for name in ("status", "placement", "users", "recommendations", "coverage")}


@dataclass(frozen=True)
class Story:
    """What each step returned."""

    ledger: Sequence[Row]
    dataset: Row
    found: Sequence[Row]
    """Of the search."""
    review: Row
    batches: Sequence[Row]


def publish_story(story: Story) -> None:
    """Put the page on the flow run; outside of one nothing happens."""
    if FlowRunContext.get() is not None:
        create_markdown_artifact(markdown(current(), story), key="story", description="From the files to the lists")


def markdown(installation: Installation, story: Story) -> str:
    """Return the page: the verdict, then a section for each step."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    version = story.dataset["version"]
    sections = {
        "What became of every row": _table(_ledger(installation, story.ledger)),
        "The data set": _dataset(installation, story.dataset),
        "Settings that were searched": _table(_searched(story.found)),
        f"Models on the test weeks of {version}": _models(registry, story.review),
        "The review": _review(registry, story.review),
        "Published lists": _table(in_order([batch_line(batch) for batch in story.batches], _LISTS)),
    }
    told = "\n\n".join(f"## {for_markdown(title)}\n\n{text}" for title, text in sections.items() if text)
    return f"{_verdict(story)}\n\n{told}"


def _verdict(story: Story) -> str:
    review = story.review
    best = max(review["ladder"], key=lambda row: row[METRIC] or 0)["model"]
    names = ", ".join(str(batch["placement"]) for batch in story.batches)
    lists = f"Lists are live: {names}." if names else "No lists were published."
    said = f"Version {review['model_version']}: {review['status']}. {best} is best by NDCG. {lists}"
    return f"**{for_markdown(said)}**"


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
    link = f" Great Expectations' judgement is in its [Data Docs]({page})." if page else ""
    return f"{for_markdown(dataset['version'])}: {counts}.{link}"


def _searched(found: Sequence[Row]) -> list[Row]:
    return [{"model": row["model"], "tried": len(row["tried"]), "MLflow": row["page"]} for row in found]


def _models(registry: Registry, review: Row) -> str:
    text = _table(next(iter(tables(review["ladder"]).values()), []))
    return f"{text}\n\n[All figures of all models in MLflow]({registry.experiment_page()})"


def _review(registry: Registry, review: Row) -> str:
    outcomes = [stored_outcome(check) for check in review["gate"]]
    counts = ", ".join(f"{outcomes.count(one)} {one.value}" for one in Outcome if one in outcomes)
    page = registry.version_page(review["model_version"])
    links = [f"[the model version]({page})"]
    links += [f"[the report for reviewers]({review['report']})"] if review.get("report") else []
    who = f" {for_markdown(review['reviewer'])}: {for_markdown(review['reason'])}" if review.get("reviewer") else ""
    checks = f"Checks of the gate: {counts}.{who}" if counts else "Nothing is better than the champion."
    return f"{checks}\n\nSee {', '.join(links)}."


def _table(rows: Sequence[Row]) -> str:
    return markdown_table(safe_rows(rows))
