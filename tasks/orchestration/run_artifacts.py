"""Puts tables and links on the Prefect page of a run, and lines into its log."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.runtime import flow_run

from infra.installation import Installation, current
from infra.registry.client import Registry
from infra.services import data_docs
from models.primitives.escaping import for_markdown, for_terminal
from models.primitives.json_types import JsonObject
from tasks.orchestration.table_columns import Columns, Row, TableRow, in_order, rounded

_LINK: Final = re.compile(r"\[([^\[\]]*)\]\(([^()\s]*)\)")
_NO_ADDRESS: Final = frozenset(" \t\n\r<>()[]`\"'\\|")


def flow_run_page(installation: Installation) -> str:
    """Return the page of the current Prefect flow run; empty outside of a run."""
    run_id = flow_run.get_id()
    return installation.endpoints.flow_run_page(run_id) if run_id else ""


def show(key: str, title: str, rows: Iterable[Row], columns: Columns | None = None) -> None:
    """Put a table with columns in the given order on the page of the flow run; do nothing outside of a run.

    A table without rows is not shown. Prefect's tables have no links, so a table with links becomes Markdown.
    """
    table_rows: Sequence[Row] = in_order(rows, columns) if columns else list(rows)
    if FlowRunContext.get() is None or not table_rows:
        return
    own, table, description = own_pages(current()), safe_rows(table_rows), for_markdown(title)
    if any(isinstance(value, str) and _own_links(value, own) for row in table_rows for value in row.values()):
        create_markdown_artifact(f"**{description}**\n\n{markdown_table(table)}", key=key, description=description)
    else:
        create_table_artifact(table=table, key=key, description=description)


def safe_rows(rows: Sequence[Row]) -> list[TableRow]:
    """Return rows for a page that reads texts as Markdown: figures are rounded, and texts are escaped."""
    own = own_pages(current())
    return [{name: _cell(value, own) for name, value in row.items()} for row in rows]


def markdown_table(rows: Sequence[Row]) -> str:
    """Return rows with escaped texts as a table in Markdown; addresses become links."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_link_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _link_cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"[open]({text})" if text.startswith(("http://", "https://")) else text


def own_pages(installation: Installation) -> tuple[str, ...]:
    """Return the addresses of this installation's pages, to which links are trusted."""
    pages = (installation.endpoints.prefect_page, installation.endpoints.mlflow_page, installation.endpoints.docs_page)
    return tuple(page.rstrip("/") for page in pages if page)


def is_own_page(address: str, pages: tuple[str, ...]) -> bool:
    """Return whether an address leads to one of the pages and cannot break out of a link."""
    own = any(address == page or address.startswith((f"{page}/", f"{page}?")) for page in pages)
    return own and not set(address) & _NO_ADDRESS


def _cell(value: object, pages: tuple[str, ...]) -> str | float | None:
    """Return a value for a table on Prefect's page, which reads each text as Markdown with pictures and links."""
    if isinstance(value, Mapping):
        return ", ".join(f"{for_markdown(str(name))}: {_cell(entry, pages)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(_cell(entry, pages)) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return rounded(value)
    if not isinstance(value, str):
        return None if value is None else for_markdown(str(value))
    links = _own_links(value, pages)
    return ", ".join(links) if links else for_markdown(value)


def _own_links(text: str, pages: tuple[str, ...]) -> list[str]:
    """Return the links of a text that consists of links to the pages only."""
    links = [_own_link(part, pages) for part in text.split(", ")]
    return [link for link in links if link is not None] if None not in links else []


def _own_link(text: str, pages: tuple[str, ...]) -> str | None:
    """Return an address or a Markdown link to one of the pages, with its text escaped; None for other texts."""
    link = _LINK.fullmatch(text)
    label, address = link.groups() if link else ("", text)
    if not is_own_page(address, pages):
        return None
    return f"[{for_markdown(label)}]({address})" if link else address


def log_info(text: str) -> None:
    """Write a line to the log of the task run; do nothing outside of a run."""
    if TaskRunContext.get() is not None:
        get_run_logger().info(text)


def warn(text: str) -> None:
    """Write a warning to the log of the run; do nothing outside of a run."""
    with suppress(MissingContextError):
        get_run_logger().warning(text)


def announce(line: str) -> None:
    """Print a line in the terminal, and write it to the log of the run if there is one."""
    print(f"  {for_terminal(line)}", file=sys.stderr, flush=True)
    with suppress(MissingContextError):
        get_run_logger().info(line)


def show_leaderboard(version: str, rows: Sequence[Row]) -> None:
    """Show the tables of models on a data set, with links to their runs in MLflow."""
    from models.evaluation.comparison import tables  # imports SciPy

    for title, table in tables(rows).items():
        show(key_of(title), f"{title}, test weeks of {version}", table)
    runs = [{"model": row["model"], "run": row["run"]} for row in rows if "run" in row]
    if runs:
        show("training-runs", f"Runs on {version} in MLflow", runs)


def show_search(version: str, searches: Sequence[Row]) -> None:
    """Show the best settings of each model with a link to MLflow, and all trials."""
    from models.tuning.study_config import search_table  # imports SciPy

    best = [
        line | {"run": f"[MLflow]({row['page']})"} for line, row in zip(search_table(searches), searches, strict=True)
    ]
    show("best-settings", f"Best settings on {version}", best)
    for row in searches:
        show(key_of(f"tried {row['model']}"), f"Settings of {row['model']} tried on {version}", row["tried"])


def show_folds(version: str, models: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Show the table of models over the folds of a cross-validation."""
    from models.evaluation.cross_validation import folds_table, folds_title  # imports SciPy

    show("cross-validation", f"{folds_title(models)}, {version}", folds_table(models))


def link_docs(entry: Row) -> JsonObject:
    """Return a batch's ledger row with the address of its Data Docs, and link them on the run's page."""
    installation, batch_id = current(), str(entry["batch_id"])
    address = data_docs.page_address(installation.settings.var, installation.endpoints, batch_id)
    if address and FlowRunContext.get() is not None:
        text = for_markdown(f"{entry['dataset']}: {entry['status']}")
        description = for_markdown(f"Data Docs of {batch_id}")
        create_link_artifact(link=address, link_text=text, key=key_of(f"data docs {batch_id}"), description=description)
    return {**entry, "data_docs": address}


def key_of(text: str) -> str:
    """Return a text as a key of Prefect: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


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
