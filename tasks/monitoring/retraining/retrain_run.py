"""What a retraining run writes down of itself: where every step can be looked at, and what came of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from prefect import State
from prefect.runtime import flow_run

from infra.installation import Installation, current
from infra.outages import explain
from infra.registry.client import Registry
from infra.services import prefect_pages
from tasks.monitoring.retraining.admission import Start, begin
from tasks.monitoring.retraining.leases import SupersededError, finish, note_step, renew_lease
from tasks.monitoring.retraining.requests import DONE, FAILED
from tasks.orchestration.page_links import docs_page
from tasks.orchestration.run_artifacts import show
from tasks.review.outcomes import ReviewOutcome, outcome_of_status

_SENTENCES: Final = {
    ReviewOutcome.PROMOTED: "Version {version} was promoted.",
    ReviewOutcome.WAITING: "Version {version} waits for a person's decision.",
    ReviewOutcome.REFUSED: "Version {version} was refused by the gate; the lists stay as they are.",
    ReviewOutcome.CHAMPION_KEPT: "Nothing is better than version {version}, the champion; it stays.",
    ReviewOutcome.SWITCHED_OFF: "Version {version} passed the gate, but promotion is switched off.",
}


@dataclass
class Retraining:
    """One run's work on a request."""

    installation: Installation
    start: Start
    rows: list[dict[str, str]] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do for this run."""
        return self.start.claim is None

    def step(self, name: str, state: State[Any], needed: bool = True) -> Any:
        """Note where a step that is over can be looked at; returns what it gave, or raises what it raised.

        Raises SupersededError when another run works on the request: what that does must not be done twice.
        """
        assert self.start.claim is not None
        self.start.claim.ensure_held()
        result = state.result(raise_on_failure=False) if state.is_completed() else None
        pages = {name: _page(self.installation, state)} | self._beyond(name, result)
        self.rows.append({"step": name, "state": state.name or "", "where": _markdown(pages)})
        for step, link in pages.items():
            note_step(self.start.claim, step, link)
        return state.result(raise_on_failure=needed)

    def result(self, review: Mapping[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
        """What the run returns: with the review, what became of the challenger; without, why nothing was trained."""
        outcome, sentence = self.start.outcome, self.start.why_not
        if review is not None:
            known = outcome_of_status(review["status"])
            outcome = str(known.value if known else review["status"])
            template = _SENTENCES[known] if known else "Version {version}: {status}."
            sentence = template.format(version=review["model_version"], status=review["status"])
        empty: dict[str, Any] = {"dataset_version": None, "due": {}, "searches": {}, "batches": []}
        self.told = {"request": self.start.request_id, "outcome": outcome, "says": sentence}
        return empty | extra | {"review": review and dict(review)} | self.told

    def _beyond(self, name: str, result: Any) -> dict[str, str]:
        """Where else a step is told of: MLflow and Data Docs."""
        pages: dict[str, str] = {}
        if name == "features" and result:
            pages["features: Data Docs"] = docs_page(self.installation, result["version"])
        if name == "train" and result:
            pages |= {f"train: {row['model']}": row["run"] for row in result["ladder"]}
        if name == "review" and result:
            registry = Registry(self.installation.endpoints.mlflow_tracking_uri)
            number = result["model_version"]
            pages |= {f"review: version {number}": registry.version_page(number)}
            pages["review: report"] = result.get("report") or ""
        return {step: page for step, page in pages.items() if page}


@contextmanager
def retraining(request: int | None, despite_feed: bool) -> Iterator[Retraining]:
    """Work on a request, or on a new one; closes it with what came of it, and shows all steps in one table.

    A run that is killed closes nothing: its lease runs out, and the reconciler starts another one.
    """
    installation = current()
    work = Retraining(installation, begin(installation, request, despite_feed))
    claim = work.start.claim
    if claim is None:
        yield work
        show("retraining", work.start.why_not, [{"request": work.start.request_id, "outcome": work.start.outcome}])
        return
    try:
        with renew_lease(claim):
            yield work
    except (Exception, KeyboardInterrupt) as error:
        outcome = _reason(error)
        if not isinstance(error, SupersededError):
            finish(claim, FAILED, outcome)
        with suppress(Exception):  # what ended the work is told, not that it could not be shown
            show("retraining", outcome, work.rows)
        raise
    finish(claim, DONE, work.told["outcome"])
    show("retraining", f"Request {work.start.request_id}: {work.told['says']}", work.rows)


def _page(installation: Installation, state: State[Any]) -> str:
    """Of the flow that was called, or of the task."""
    details = state.state_details
    if details.flow_run_id and str(details.flow_run_id) != flow_run.get_id():
        return prefect_pages.flow_run(installation.endpoints, str(details.flow_run_id))
    return prefect_pages.task_run(installation.endpoints, str(details.task_run_id)) if details.task_run_id else ""


def _markdown(pages: Mapping[str, str]) -> str:
    return ", ".join(f"[{name.partition(': ')[2] or 'Prefect'}]({page})" for name, page in pages.items())


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "a person stopped it"
    return explain(error) or f"{type(error).__name__}: {error}"
