"""Renders a batch's findings as Data Docs: Great Expectations' own sections in a page that works offline."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from infra.database.engine import database_now
from infra.installation import current
from infra.services.data_docs import PAGE, About, prune, replace_page
from infra.services.endpoints import MODEL
from tasks.orchestration.run_artifacts import flow_run_page
from tasks.quality.findings import Findings

_TEMPLATE, _SUITES = "data_docs.j2", "data_docs_suites.j2"
_LISTS, _DATASET = "lists", "dataset"


@dataclass(frozen=True)
class BatchValidation:
    """A batch's findings, one per rule, with the validation results that they come from."""

    batch_id: str
    dataset: str
    findings: Findings
    meanings: Mapping[str, str]
    """The meaning of a broken rule, by its id."""
    figures: Mapping[str, float | None]
    results: list[Any]
    passed: bool
    """Whether no finding refuses the batch."""


def publish(*validations: BatchValidation) -> None:
    """Store the pages of batches, the newest last. Several may share the results of one validation.

    An error becomes a warning: no batch fails for want of a page.
    """
    suites = ""
    for validation in validations:
        try:
            installation = current()
            suites = suites or render_suites(validation.results)
            with installation.engine.connect() as connection:
                now = database_now(connection)
            about = About(validation.batch_id, validation.dataset, validation.passed, now.isoformat())
            with replace_page(installation.settings.var, about) as folder:
                (folder / PAGE).write_text(render(validation, about, suites), encoding="utf-8", errors="replace")
            if validation is validations[-1]:
                prune(installation.settings.var)
        except Exception as error:
            _log().warning(
                "No Data Docs for %s, which is ingested all the same. %s", validation.batch_id, _cause(error)
            )


def render(validation: BatchValidation, about: About, suites: str = "") -> str:
    """Return the page as HTML; `suites` is the output of `render_suites` for its results.

    Great Expectations' page template loads scripts and styles from six hosts; this one loads none.
    """
    text: str = _template(_TEMPLATE).render(
        links=_links(about.dataset),
        about=asdict(about),
        findings=validation.findings,
        sample=sample_of(validation),
        meanings=validation.meanings,
        figures={name: value for name, value in validation.figures.items() if value is not None and not isnan(value)},
        suites=suites or render_suites(validation.results),
    )
    return text


def render_suites(results: list[Any]) -> str:
    """Return Great Expectations' own sections about the results of each suite, as HTML."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    renderer = ValidationResultsPageRenderer()
    suites = []
    for result in results:
        for entry in result.results:
            entry.exception_info = _without_causes(entry.exception_info)
        # The first section repeats the top of the page, with links into a site that does not exist.
        sections = renderer.render(result).to_json_dict()["sections"][1:]
        suites.append({"name": result.suite_name, "passed": bool(result.success), "sections": sections})
    text: str = _template(_SUITES).render(suites=suites)
    return text


@cache
def _template(name: str) -> Any:
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent)).env.get_template(name)


def sample_of(validation: BatchValidation) -> str:
    """Return the sentence on the sample that counts of rows refer to; empty if they refer to all rows."""
    counted = [finding["of"] for finding in validation.findings if finding["of"] and finding["value"] is None]
    if not counted or validation.dataset == _LISTS:
        return ""
    rows, read = max(counted), validation.figures.get("rows")
    if validation.dataset == _DATASET:
        return f"Counts of broken rows refer to a sample of {rows:,} rows of the tables."
    if read is None or isnan(read) or rows >= read:
        return ""
    return f"Counts of broken rows refer to a sample: {rows:,} of the {read:,.0f} rows that were read."


def _links(dataset: str) -> dict[str, str]:
    """Return links to the Prefect run of the batch, and to the models of a data set."""
    installation = current()
    run, models = flow_run_page(installation), f"{installation.endpoints.mlflow_page}/#/models/{MODEL}"
    links = {"The Prefect run that made it": run} if run else {}
    return links | ({"Models in MLflow (each says its data set)": models} if dataset == _DATASET else {})


def _without_causes(info: object) -> object:
    """Return Great Expectations' record of an exception without its texts, which may quote a value."""
    if not isinstance(info, Mapping):
        return info
    texts = dict.fromkeys(("exception_message", "exception_traceback"), "It could not be evaluated.")
    return {name: texts.get(name, _without_causes(entry)) for name, entry in info.items()}


def _cause(error: Exception) -> str:
    """Return the kind of error, with the text of system errors: other texts may quote rendered values."""
    return f"{type(error).__name__}: {error.strerror}" if isinstance(error, OSError) else type(error).__name__


def _log() -> Any:
    """Return the run's logger, so that its page shows the warning, or the process's without a run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger(__name__)
