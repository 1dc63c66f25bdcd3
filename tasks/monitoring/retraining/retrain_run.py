"""Decides whether a run may retrain, and records it: the pages of its steps, and its outcome."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

from prefect import State
from prefect.runtime import flow_run
from sqlalchemy import func, select

from infra.database.schema.monitoring_schema import drift_calibrations, drift_reports
from infra.installation import Installation, current
from infra.outages import explain
from infra.registry.client import Registry
from models.monitoring.drift.retrain_policy import INVALID_FEED
from models.primitives.json_types import JsonObject
from tasks.monitoring.retraining.requests import (
    DONE,
    FAILED,
    REQUESTED,
    RUNNING,
    Claim,
    Origin,
    Request,
    SupersededError,
    claim,
    finish,
    get_request,
    note_step,
    open_request,
    renew_lease,
    request_retraining,
)
from tasks.orchestration.missed_schedules import schedule_of_run
from tasks.orchestration.run_artifacts import docs_page, show
from tasks.review.outcomes import ReviewOutcome, outcome_of_status

_SENTENCES: Final = {
    ReviewOutcome.PROMOTED: "Version {version} was promoted.",
    ReviewOutcome.WAITING: "Version {version} waits for a person's decision.",
    ReviewOutcome.REFUSED: "Version {version} was refused by the gate; the lists stay as they are.",
    ReviewOutcome.CHAMPION_KEPT: "Nothing is better than version {version}, the champion; it stays.",
    ReviewOutcome.SWITCHED_OFF: "Version {version} passed the gate, but promotion is switched off.",
}
_HOW_TO_FIX: Final = (
    "Nothing was trained. Fix the feed and run `tailorbird monitor`; or retrain all the same with "
    "`tailorbird retrain --ignore-feed-check` (`ignore_feed_check` in the form)."
)

_REASONS: Final[dict[Origin, str]] = {"schedule": "its schedule was due", "person": "a person started it"}


class RetrainResult(TypedDict):
    """The result of a retraining run."""

    request: int
    outcome: str
    says: str
    """The outcome in a sentence."""
    dataset_version: str | None
    due: Mapping[str, str]
    """By model, why a search of its settings was due."""
    searches: Mapping[str, object]
    batches: Sequence[object]
    review: JsonObject | None


@dataclass
class Retraining:
    """The work of one run on a request."""

    installation: Installation
    request_id: int
    claim: Claim | None
    """None if this run has nothing to do; then `outcome` and `sentence` state why."""
    outcome: str = ""
    sentence: str = ""
    rows: list[dict[str, str]] = field(default_factory=list)

    def step(self, name: str, state: State[Any], needed: bool = True) -> Any:
        """Record the pages of a finished step; return its result, or raise its error if it is `needed`.

        Raises SupersededError if another run has taken over the request.
        """
        assert self.claim is not None
        self.claim.ensure_held()
        result = state.result(raise_on_failure=False) if state.is_completed() else None
        pages = {name: _page(self.installation, state)} | self._result_pages(name, result)
        links = [f"[{step.partition(': ')[2] or 'Prefect'}]({page})" for step, page in pages.items()]
        self.rows.append({"step": name, "state": state.name or "", "where": ", ".join(links)})
        for step, link in pages.items():
            note_step(self.claim, step, link)
        return state.result(raise_on_failure=needed)

    def result(
        self,
        review: Mapping[str, Any] | None = None,
        *,
        dataset_version: str | None = None,
        due: Mapping[str, str] | None = None,
        searches: Mapping[str, object] | None = None,
        batches: Sequence[object] = (),
    ) -> RetrainResult:
        """Return the result of the run: the challenger's outcome, or without a review why nothing was trained."""
        if review is not None:
            known = outcome_of_status(review["status"])
            self.outcome = str(known.value if known else review["status"])
            template = _SENTENCES[known] if known else "Version {version}: {status}."
            self.sentence = template.format(version=review["model_version"], status=review["status"])
        return RetrainResult(
            request=self.request_id,
            outcome=self.outcome,
            says=self.sentence,
            dataset_version=dataset_version,
            due=due or {},
            searches=searches or {},
            batches=list(batches),
            review=dict(review) if review is not None else None,
        )

    def _result_pages(self, name: str, result: Any) -> dict[str, str]:
        """Return the pages of a step's result in MLflow and Data Docs."""
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


def begin(installation: Installation, request_id: int | None, ignore_feed_check: bool) -> Retraining:
    """Claim the given request or a new one. A feed that is known to be broken blocks the run."""
    request = _own_request(installation) if request_id is None else request_id
    if isinstance(request, Request):
        return _not_claimed(installation, request.request_id)
    claimed = claim(installation.engine, request, flow_run.get_id(), installation.settings.retrain_lease_seconds)
    if claimed is None:
        return _not_claimed(installation, request)
    feed_problem = "" if ignore_feed_check else _feed_problem(installation)
    if not feed_problem:
        return Retraining(installation, request, claimed)
    outcome = f"blocked: the feed is broken ({feed_problem})"
    finish(claimed, FAILED, outcome)
    sentence = f"Blocked: the feed is broken ({feed_problem}). {_HOW_TO_FIX}"
    return Retraining(installation, request, None, outcome, sentence)


def _own_request(installation: Installation) -> int | Request:
    """Return the id of a new request, or the request that is open already."""
    origin: Origin = "schedule" if schedule_of_run() else "person"
    with installation.engine.begin() as connection:
        created = request_retraining(connection, origin, _REASONS[origin])
        request = created or open_request(connection)
    if request is None:  # it was closed between the two statements
        return _own_request(installation)
    return request.request_id if created else request


def _not_claimed(installation: Installation, request_id: int) -> Retraining:
    with installation.engine.connect() as connection:
        request = get_request(connection, request_id)
    name = f"retrain request {request_id} ({request.origin}: {request.reason})"
    page = installation.endpoints.flow_run_page(request.flow_run) if request.flow_run else ""
    if request.status == RUNNING:
        reason = (
            f"Nothing was trained here: another run works on {name}. Look at {page or 'the terminal that it runs in'}"
        )
    elif request.status == REQUESTED:
        reason = (
            f"Nothing was trained here: {name} waits for a worker, which `tailorbird up` starts. Or run `tailorbird "
            f"retrain --request {request_id}`"
        )
    else:
        reason = f"Nothing was trained here: {name} is over: {request.outcome}. Look at {page}"
    return Retraining(installation, request_id, None, request.outcome or request.status, f"{reason}.")


def _feed_problem(installation: Installation) -> str:
    """Return the newest drift report's reasons against the feed; empty without any.

    Reports of earlier calibrations do not count.
    """
    newest_calibration = select(func.max(drift_calibrations.c.calibration_id)).scalar_subquery()
    reports = select(drift_reports.c.verdict, drift_reports.c.reasons).where(
        drift_reports.c.calibration_id == newest_calibration
    )
    newest = reports.order_by(drift_reports.c.report_id.desc()).limit(1)
    with installation.engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None or row.verdict != INVALID_FEED:
        return ""
    return "; ".join(row.reasons) or "see the newest drift report"


@contextmanager
def retraining(request: int | None, ignore_feed_check: bool) -> Iterator[Retraining]:
    """Work on a request or a new one, close it with its outcome, and show all steps in one table.

    A killed run closes nothing: its lease expires, and the reconciler starts another run.
    """
    work = begin(current(), request, ignore_feed_check)
    if work.claim is None:
        yield work
        show("retraining", work.sentence, [{"request": work.request_id, "outcome": work.outcome}])
        return
    try:
        with renew_lease(work.claim):
            yield work
    except (Exception, KeyboardInterrupt) as error:
        outcome = _reason(error)
        if not isinstance(error, SupersededError):
            finish(work.claim, FAILED, outcome)
        with suppress(Exception):  # the error that ended the work counts, not one of the display
            show("retraining", outcome, work.rows)
        raise
    finish(work.claim, DONE, work.outcome)
    show("retraining", f"Request {work.request_id}: {work.sentence}", work.rows)


def _page(installation: Installation, state: State[Any]) -> str:
    """Return the page of the flow run or of the task run."""
    details = state.state_details
    if details.flow_run_id and str(details.flow_run_id) != flow_run.get_id():
        return installation.endpoints.flow_run_page(str(details.flow_run_id))
    return f"{installation.endpoints.runs_page}/task-run/{details.task_run_id}" if details.task_run_id else ""


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "a person stopped it"
    return explain(error) or f"{type(error).__name__}: {error}"
