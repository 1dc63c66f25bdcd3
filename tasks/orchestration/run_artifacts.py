"""Puts tables and links on the Prefect page of a run, and lines into its log.

Tables have their columns in reading order: the verdict, its subject, figures. JSON columns of PostgreSQL keep none.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

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

_LINK: Final = re.compile(r"\[([^\[\]]*)\]\(([^()\s]*)\)")
_NO_ADDRESS: Final = frozenset(" \t\n\r<>()[]`\"'\\|")
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
Row = Mapping[str, Any]
"""A row with columns by name."""
TableRow = dict[str, object]
"""A row of a table for people, with headings as keys."""
Columns = Mapping[str, str]
"""Headings by the names of columns, in reading order."""


def _columns(*names: str, **headings: str) -> dict[str, str]:
    return {name: headings.get(name, name.replace("_", " ")) for name in names}


LEDGER: Final = _columns(
    "status", "dataset", "source", "read", "accepted", "quarantined", "duplicate", "suppressed", "routed", "late",
    "detail", "file", "batch_id", "consent",
)  # fmt: skip
GATE: Final = _columns("outcome", "name", "detail", "value", "limit", "low", "high", name="check")
GROUPS: Final = _columns("outcome", "trait", "value", "users", "candidate", "reference", "difference", "low", "high")
DECISION: Final = _columns(
    "decision", "model_version", "champion", "remark", "reviewer", "reason", "passed", "overridden", "dataset_version",
    passed="passed the gate", champion="champion now",
)  # fmt: skip
BATCHES: Final = _columns(
    "status", "placement", "batch_id", "model_version", "users", "recommendations", "coverage", "reasons",
    "filled", "shorter lists", "kept from before", batch_id="batch",
)  # fmt: skip
SEGMENTS: Final = _columns("segment", "lists", "full", "kept from before")
ERASED: Final = _columns("store", "rows")
WINDOWS: Final = _columns(
    "verdict", "decision", "window", "reasons", "drivers", "joint", "joint_threshold", "model_version", "page",
    joint="joint deviation", joint_threshold="limit",
)  # fmt: skip


def in_order(rows: Iterable[Row], columns: Columns) -> list[TableRow]:
    """Return rows with these columns in this order under their headings; columns without values are left out."""
    rows = list(rows)
    present = [name for name in columns if any(name in row for row in rows)]
    return [{columns[name]: row.get(name) for name in present} for row in rows]


def facts(row: Row, columns: Columns | None = None) -> list[TableRow]:
    """Return one row as a table of two columns, which needs no scrolling."""
    names = columns or {name: name.replace("_", " ") for name in row}
    return [{"": heading, "value": row[name]} for name, heading in names.items() if row.get(name) is not None]


def judged(groups: Iterable[Row]) -> list[TableRow]:
    """Return the results of groups of people with their outcome as a word."""
    return [{**group, "outcome": _outcome(group)} for group in groups]


def _outcome(group: Row) -> str:
    if not group.get("judged", True):
        return "too few people to judge"
    return "passed" if group["passed"] else "worse"


def rounded(value: float) -> float | int | str:
    """Return a figure in a readable form: integers as they are, others with four decimals or digits."""
    if isinstance(value, int):
        return value
    if value != value or value in (float("inf"), float("-inf")):
        return ""
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return round(value, 1) if abs(value) >= 1000 else round(value, 4) if abs(value) >= 0.001 else float(f"{value:.2g}")


def batch_row(batch: Row) -> TableRow:
    """Return the row of a batch of lists for people."""
    summary = batch["summary"]
    names = ("placement", "batch_id", "model_version", "users", "recommendations", "status")
    row: TableRow = {name: batch[name] for name in names}
    row["coverage"], row["kept from before"] = summary.get("coverage"), summary.get("kept_from_before")
    row["reasons"] = ", ".join(f"{kind} {share:.0%}" for kind, share in summary.get("reasons", {}).items())
    row["filled"] = ", ".join(f"{share:.0%} of {part}" for part, share in summary.get("filled", {}).items())
    row["shorter lists"] = "; ".join(f"{count}: {cause}" for cause, count in summary.get("short", {}).items())
    return row


def windows_table(result: Row, accept: str) -> tuple[str, list[TableRow]]:
    """Return a title and rows for a result of `detect_drift`, the latest window first."""
    reports = result["reports"]
    if reports:
        return "Evaluated windows, the latest first", [_row(report) for report in reversed(reports)]
    reason = result["note"] or (
        "The newest windows count as usual from now on."
        if accept
        else "No window has ended since the bands were fitted."
    )
    return "No window was evaluated", [
        {"verdict": "accepted" if accept and not result["note"] else "nothing to judge", "reasons": reason}
    ]


def _row(report: Row) -> TableRow:
    window = f"{report['window_from']:%Y-%m-%d} to {report['window_to']:%Y-%m-%d}"
    texts = {"reasons": " ".join(report["reasons"]), "drivers": ", ".join(report["drivers"])}
    return {**report, **texts, "window": window}


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
