"""Tables and links that people find on the Prefect page of a run."""

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
from infra.services import data_docs
from infra.services import prefect_pages as pages
from models.primitives.escaping import for_markdown, for_terminal
from models.tuning.study_config import search_table
from tasks.orchestration.table_columns import Columns, in_order, rounded

Row = Mapping[str, Any]
_LINK: Final = re.compile(r"\[([^\[\]]*)\]\(([^()\s]*)\)")
_NO_ADDRESS: Final = frozenset(" \t\n\r<>()[]`\"'\\|")


def flow_run_page(installation: Installation) -> str:
    """The page of the Prefect flow run that this is part of; empty outside of one."""
    run_id = flow_run.get_id()
    return pages.flow_run(installation.endpoints, run_id) if run_id else ""


def show(key: str, title: str, rows: Iterable[Row], columns: Columns | None = None) -> None:
    """Put a table on the page of the flow run, its columns in the order given; outside of one nothing happens.

    Nothing is shown of no rows. Prefect's tables have no links, so one with links becomes Markdown.
    """
    found = in_order(rows, columns) if columns else list(rows)
    if FlowRunContext.get() is None or not found:
        return
    own, table, about = own_pages(current()), safe_rows(found), for_markdown(title)
    if any(_is_link(value, own) for row in found for value in row.values()):
        create_markdown_artifact(f"**{about}**\n\n{markdown_table(table)}", key=key, description=about)
    else:
        create_table_artifact(table=table, key=key, description=about)


def safe_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows for a page that reads texts as Markdown: rounded, and nobody's text is more than text."""
    own = own_pages(current())
    return [{name: _cell(value, own) for name, value in row.items()} for row in rows]


def markdown_table(rows: Sequence[Row]) -> str:
    """Return rows, whose texts are escaped already, as a table in Markdown; addresses become links."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_linked(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _linked(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"[open]({text})" if text.startswith(("http://", "https://")) else text


def own_pages(installation: Installation) -> tuple[str, ...]:
    """Return where the pages of this installation are: links to them are no strangers' text."""
    pages = (installation.endpoints.prefect_page, installation.endpoints.mlflow_page, installation.endpoints.docs_page)
    return tuple(page.rstrip("/") for page in pages if page)


def is_own_page(address: str, pages: tuple[str, ...]) -> bool:
    """Return whether an address leads to one of the pages, and ends neither a link of Markdown nor one of HTML."""
    own = any(address == page or address.startswith((f"{page}/", f"{page}?")) for page in pages)
    return own and not set(address) & _NO_ADDRESS


def _cell(value: Any, pages: tuple[str, ...]) -> Any:
    """Return a value for a table on Prefect's page, which reads each text as Markdown, with pictures and links."""
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
    """Return the links of a text that is nothing but links to the pages."""
    links = [_own_link(part, pages) for part in text.split(", ")]
    return [link for link in links if link is not None] if None not in links else []


def _is_link(value: Any, pages: tuple[str, ...]) -> bool:
    return isinstance(value, str) and bool(_own_links(value, pages))


def _own_link(text: str, pages: tuple[str, ...]) -> str | None:
    """Return an address or a Markdown link that leads to one of the pages, its text escaped; None for all else."""
    link = _LINK.fullmatch(text)
    label, address = link.groups() if link else ("", text)
    if not is_own_page(address, pages):
        return None
    return f"[{for_markdown(label)}]({address})" if link else address


def log_info(text: str) -> None:
    """A line in the log of the task's run; outside of one nothing happens."""
    if TaskRunContext.get() is not None:
        get_run_logger().info(text)


def warn(text: str) -> None:
    """Write a warning to the log of the run; outside of one nothing happens."""
    with suppress(MissingContextError):
        get_run_logger().warning(text)


def announce(line: str) -> None:
    """Print a line in the terminal, and write it to the log of the run if there is one."""
    print(f"  {for_terminal(line)}", file=sys.stderr, flush=True)
    with suppress(MissingContextError):
        get_run_logger().info(line)


def show_leaderboard(version: str, rows: Sequence[Row]) -> None:
    """The tables of models on a data set, and where MLflow shows their runs."""
    from models.evaluation.comparison.leaderboard_tables import tables  # imports SciPy

    for title, table in tables(rows).items():
        show(key_of(title), f"{title}, test weeks of {version}", table)
    runs = [{"model": row["model"], "run": row["run"]} for row in rows if "run" in row]
    if runs:
        show("training-runs", f"Runs on {version} in MLflow", runs)


def show_search(version: str, found: Sequence[Row]) -> None:
    """The best settings of each model with a link to MLflow, and all that were tried."""
    best = [line | {"run": f"[MLflow]({row['page']})"} for line, row in zip(search_table(found), found, strict=True)]
    show("best-settings", f"Best settings on {version}", best)
    for row in found:
        show(key_of(f"tried {row['model']}"), f"Settings of {row['model']} tried on {version}", row["tried"])


def show_folds(version: str, models: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """The table of models over the folds of a cross-validation."""
    from models.evaluation.diagnostics.cross_validation import folds_table, folds_title  # imports SciPy

    show("cross-validation", f"{folds_title(models)}, {version}", folds_table(models))


def link_docs(entry: Row) -> dict[str, Any]:
    """The batch's line in the ledger with the address of its Data Docs, which a link on the run's page leads to."""
    installation, batch_id = current(), str(entry["batch_id"])
    address = data_docs.address(installation.settings.var, installation.endpoints, batch_id)
    if address and FlowRunContext.get() is not None:
        text = for_markdown(f"{entry['dataset']}: {entry['status']}")
        about = f"Data Docs of {batch_id}"
        create_link_artifact(
            link=address, link_text=text, key=key_of(f"data docs {batch_id}"), description=for_markdown(about)
        )
    return {**entry, "data_docs": address}


def key_of(text: str) -> str:
    """Prefect takes small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
