"""Links between pages: Prefect runs, MLflow runs and versions, searches, and Data Docs of data sets."""

from collections.abc import Mapping
from typing import Final

from prefect.artifacts import create_link_artifact
from prefect.context import FlowRunContext

from infra.installation import Installation
from infra.registry.client import Registry
from infra.services import data_docs
from tasks.orchestration.run_artifacts import flow_run_page, is_own_page, key_of, own_pages

Links = dict[str, str]
"""Addresses by name; the name is also a tag in MLflow."""
PREFECT_RUN, TRAINING, SEARCH, DATA_DOCS = "prefect_run", "training_run", "search_page", "data_docs"
VERSION, REPORT = "version_page", "report"
TEXTS: Final = {
    REPORT: "the review's report",
    VERSION: "the model version",
    TRAINING: "the training run",
    PREFECT_RUN: "the Prefect run",
    SEARCH: "the search of its settings",
    DATA_DOCS: "the data set's Data Docs",
}
"""The text of each link."""


def docs_page(installation: Installation, batch_id: str) -> str:
    """Return the Data Docs of a batch or data set; empty if there are none, or if no server shows them.

    Browsers do not open local files from another page.
    """
    address = data_docs.page_address(installation.settings.var, installation.endpoints, batch_id) or ""
    return address if address.startswith("http") else ""


def of_training(installation: Installation, registry: Registry, dataset_version: str, search_run: str) -> Links:
    """Return the links of a training that runs now: its Prefect run, search and data set, as far as they exist."""
    links = {
        PREFECT_RUN: flow_run_page(installation),
        SEARCH: registry.page(search_run) if search_run else "",
        DATA_DOCS: docs_page(installation, dataset_version),
    }
    return {name: address for name, address in links.items() if address}


def of_version(
    installation: Installation, registry: Registry, version: int, run_id: str, dataset_version: str
) -> Links:
    """Return the links of a registered version: its page, its training run, and the pages in the run's tags.

    Every user of MLflow can set tags, so links to pages outside of this installation are left out.
    """
    tags = registry.run(run_id).tags
    links = {
        VERSION: registry.version_page(version),
        TRAINING: registry.page(run_id),
        PREFECT_RUN: tags.get(PREFECT_RUN, ""),
        SEARCH: registry.page(tags["search_run"]) if tags.get("search_run") else "",
        DATA_DOCS: docs_page(installation, dataset_version),
    }
    pages = own_pages(installation)
    return {name: address for name, address in links.items() if is_own_page(address, pages)}


def markdown(links: Mapping[str, str]) -> str:
    """Return the links as one line of Markdown."""
    text = ", ".join(f"[{TEXTS[name]}]({links[name]})" for name in TEXTS if name in links)
    return text and f"See {text}."


def show_links(links: Mapping[str, str], subject: str) -> None:
    """Put links about a subject on the page of the flow run; do nothing outside of a run."""
    if FlowRunContext.get() is None:
        return
    for name in (name for name in TEXTS if name in links):
        text = f"{TEXTS[name].removeprefix('the ')}: {subject}"
        key = key_of(f"{name} {subject}")
        create_link_artifact(link=links[name], link_text=text, key=key, description=text)
