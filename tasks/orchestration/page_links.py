"""Ways from one page to the next: the Prefect run, MLflow's run and version, the search, the data set's Data Docs."""

from collections.abc import Mapping
from typing import Final

from prefect.artifacts import create_link_artifact
from prefect.context import FlowRunContext

from infra.installation import Installation
from infra.registry.client import Registry
from infra.services import data_docs
from tasks.orchestration.run_artifacts import flow_run_page, is_own_page, key_of, own_pages

Links = dict[str, str]
"""Addresses by name, which is a tag in MLflow too."""
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
"""What each leads to."""


def docs_page(installation: Installation, batch_id: str) -> str:
    """The Data Docs of a batch or data set; empty when there are none (any more), or nobody serves them: browsers open
    no file of a machine from another page."""
    address = data_docs.address(installation.settings.var, installation.endpoints, batch_id) or ""
    return address if address.startswith("http") else ""


def of_training(installation: Installation, registry: Registry, dataset_version: str, search_run: str) -> Links:
    """Where a training that happens now comes from; what is not there is left out."""
    found = {
        PREFECT_RUN: flow_run_page(installation),
        SEARCH: registry.page(search_run) if search_run else "",
        DATA_DOCS: docs_page(installation, dataset_version),
    }
    return {name: address for name, address in found.items() if address}


def of_version(
    installation: Installation, registry: Registry, version: int, run_id: str, dataset_version: str
) -> Links:
    """Where a registered version comes from: its training run, and what led to that, as the run says itself.

    Tags can be set by anybody who may log in: what leads to no page of this installation is left out.
    """
    tags = registry.run(run_id).tags
    found = {
        VERSION: registry.version_page(version),
        TRAINING: registry.page(run_id),
        PREFECT_RUN: tags.get(PREFECT_RUN, ""),
        SEARCH: registry.page(tags["search_run"]) if tags.get("search_run") else "",
        DATA_DOCS: docs_page(installation, dataset_version),
    }
    pages = own_pages(installation)
    return {name: address for name, address in found.items() if is_own_page(address, pages)}


def markdown(links: Mapping[str, str]) -> str:
    """The links in one line, as MLflow shows notes and descriptions."""
    told = ", ".join(f"[{TEXTS[name]}]({links[name]})" for name in TEXTS if name in links)
    return told and f"See {told}."


def show_links(links: Mapping[str, str], about: str) -> None:
    """Put links on the page of the flow run, each under what it is `about`; outside of one nothing happens."""
    if FlowRunContext.get() is None:
        return
    for name in (name for name in TEXTS if name in links):
        text = f"{TEXTS[name].removeprefix('the ')}: {about}"
        key = key_of(f"{name} {about}")
        create_link_artifact(link=links[name], link_text=text, key=key, description=text)
