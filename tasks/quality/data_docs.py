"""Renders what a batch's suites found as Data Docs: Great Expectations' own sections in a page that works offline."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from infra.database.clock import database_now
from infra.installation import current
from infra.services.data_docs import PAGE, About, prune, replace_page
from infra.services.endpoints import MODEL
from tasks.orchestration.run_artifacts import flow_run_page

_TEMPLATE, _SUITES = "data_docs.j2", "data_docs_suites.j2"
_LISTS, _DATASET = "lists", "dataset"


@dataclass(frozen=True)
class Judgement:
    """What a batch's suites found: the findings, one per rule, and the validation results they were taken from."""

    batch_id: str
    dataset: str
    findings: list[dict[str, Any]]
    meanings: Mapping[str, str]
    """What it means when a rule is broken, by its id."""
    figures: Mapping[str, float | None]
    results: list[Any]

    @property
    def passed(self) -> bool:
        """Whether every expectation holds that does not only warn."""
        return all(finding["passed"] or finding.get("warns", False) for finding in self.findings)


def publish(*judgements: Judgement) -> None:
    """Put the pages of batches, the newest last, among the kept ones. Several share the results of one validation.

    What goes wrong is a warning: no batch fails for want of a page.
    """
    suites = ""
    for judgement in judgements:
        try:
            installation = current()
            suites = suites or render_suites(judgement.results)
            with installation.engine.connect() as connection:
                now = database_now(connection)
            about = About(judgement.batch_id, judgement.dataset, judgement.passed, now.isoformat())
            with replace_page(installation.settings.var, about) as folder:
                (folder / PAGE).write_text(render(judgement, about, suites), encoding="utf-8", errors="replace")
            prune(installation.settings.var)
        except Exception as error:
            _log().warning("No Data Docs for %s, which is ingested all the same. %s", judgement.batch_id, _cause(error))


def render(judgement: Judgement, about: About, suites: str = "") -> str:
    """The page as HTML; `suites` is what `render_suites` has made of its results.

    Great Expectations' page template loads scripts and styles from six hosts; this one none.
    """
    text: str = _template(_TEMPLATE).render(
        links=_links(about.dataset),
        about=asdict(about),
        findings=judgement.findings,
        sample=sample_of(judgement),
        meanings=judgement.meanings,
        figures={name: value for name, value in judgement.figures.items() if value is not None and not isnan(value)},
        suites=suites or render_suites(judgement.results),
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
        # The first section repeats what the page says at its top, with links into a site that there is not.
        sections = renderer.render(result).to_json_dict()["sections"][1:]
        suites.append({"name": result.suite_name, "passed": bool(result.success), "sections": sections})
    text: str = _template(_SUITES).render(suites=suites)
    return text


@cache
def _template(name: str) -> Any:
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent)).env.get_template(name)


def sample_of(judgement: Judgement) -> str:
    """Return the sentence that says which sample counts of rows refer to; empty when they refer to all rows."""
    counted = [int(found["of"]) for found in judgement.findings if found["of"] and found["value"] is None]
    if not counted or judgement.dataset == _LISTS:
        return ""
    rows, read = max(counted), judgement.figures.get("rows")
    if judgement.dataset == _DATASET:
        return f"Counts of broken rows refer to a sample of {rows:,} rows of the tables."
    if read is None or isnan(read) or rows >= read:
        return ""
    return f"Counts of broken rows refer to a sample: {rows:,} of the {read:,.0f} rows that were read."


def _links(dataset: str) -> dict[str, str]:
    """Where the batch came from, and where one finds what was made of a data set."""
    installation = current()
    run, models = flow_run_page(installation), f"{installation.endpoints.mlflow_page}/#/models/{MODEL}"
    found = {"The Prefect run that made it": run} if run else {}
    return found | ({"Models in MLflow (each says its data set)": models} if dataset == _DATASET else {})


def _without_causes(info: Any) -> Any:
    """Return what Great Expectations notes of an exception without its texts, which may quote a value."""
    if not isinstance(info, Mapping):
        return info
    texts = dict.fromkeys(("exception_message", "exception_traceback"), "It could not be evaluated.")
    return {name: texts.get(name, _without_causes(entry)) for name, entry in info.items()}


def _cause(error: Exception) -> str:
    """Return the kind of error, and of the system's own its text: others may quote what was to be rendered."""
    return f"{type(error).__name__}: {error.strerror}" if isinstance(error, OSError) else type(error).__name__


def _log() -> Any:
    """The run's own log, so that the warning is on its page; without a run, the process's."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger(__name__)
