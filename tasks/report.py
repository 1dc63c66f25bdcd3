"""Tables and links that people find on the Prefect page of a run."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.context import FlowRunContext

from infra import data_docs
from infra.installation import current
from infra.registry import Registry

SHOWN = ("ndcg_at_10", "recall_at_10", "precision_at_10", "hit_rate_at_10", "new_ndcg_at_10", "coverage_at_10")
"""The figures of a model that its table shows, in this order."""

Row = Mapping[str, Any]


def show(key: str, title: str, rows: Iterable[Row]) -> None:
    """Put a table on the page of the flow run; outside of one nothing happens."""
    if FlowRunContext.get() is not None:
        create_table_artifact(table=[dict(row) for row in rows], key=key, description=title)


def model_rows(models: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """One row per model, the best first."""
    ranked = sorted(models.items(), key=lambda entry: -entry[1]["ndcg_at_10"])
    return [{"model": kind, **{name: round(figures[name], 4) for name in SHOWN}} for kind, figures in ranked]


def show_runs(title: str, run_ids: Iterable[str]) -> None:
    """A table of training runs: their figures, and where MLflow shows them."""
    registry = Registry(current().endpoints.mlflow_tracking_uri)
    rows = []
    for run_id in run_ids:
        run = registry.run(run_id)
        figures = {name: round(run.data.metrics[name], 4) for name in SHOWN}
        rows.append({"model": run.data.tags["kind"], **figures, "run": registry.page(run_id)})
    show("training-runs", title, rows)


def link_docs(entry: Row) -> dict[str, Any]:
    """The batch's line in the ledger with the address of its Data Docs, which a link on the run's page leads to."""
    here, batch_id = current(), str(entry["batch_id"])
    address = data_docs.address(here.settings.var, here.endpoints, batch_id)
    if address and FlowRunContext.get() is not None:
        text = f"{entry['dataset']}: {entry['status']}"
        create_link_artifact(link=address, link_text=text, key=_key(batch_id), description=f"Data Docs of {batch_id}")
    return {**entry, "data_docs": address}


def _key(batch_id: str) -> str:
    """Prefect takes small letters, digits and dashes."""
    return "data-docs-" + re.sub(r"[^a-z0-9]+", "-", batch_id.lower()).strip("-")
