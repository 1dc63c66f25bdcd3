"""Audits served lists by group of users, popularity, category and brand; stores and publishes the result."""

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NotRequired, TypedDict

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from sqlalchemy import insert

from infra.configuration import placements
from infra.configuration.version import git_commit
from infra.database.schema.monitoring_schema import audit_reports
from infra.installation import Installation, current
from infra.prefect_api import events
from infra.registry.client import NOTE, Registry
from models.errors import TailorbirdError
from models.monitoring.audit.report import BEYOND_MARGIN, Audit, run_audit
from models.primitives.json_types import JsonObject
from tasks.monitoring.audit.served_data import AuditWindow, NoAuditDataError, read_audit_window
from tasks.monitoring.drift.reports import moment
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.run_artifacts import PREFECT_RUN, TEXTS, flow_run_page, key_of, log_info
from tasks.reports.audit_page import PLOTS, AuditPage, markdown, plot_audit, render, rows
from tasks.reports.review_page import Plot

FOLDER, REPORT = "audit", "audit.html"
_MAX_DAYS: Final = 36_525
_SEED: Final = 7


class AuditResult(TypedDict):
    """The result of an audit; without data it has no page."""

    placement: str
    status: str
    verdict: str
    groups: list[JsonObject]
    """The table of groups, a row each."""
    audit_id: NotRequired[int]
    window: NotRequired[str]
    users: NotRequired[int]
    page: NotRequired[str]


@task(description="Compare served lists with what users bought, by group of users.")
@hold_pseudonym_key
def audit_lists(placement: str, days: float, as_of: date | None = None) -> AuditResult:
    """Audit the lists that a placement showed users in the last days, or in the days before `as_of`.

    Without shown lists or purchases, the verdict states what is missing. Raises TailorbirdError for an unknown
    placement, or one with lists about items.
    """
    installation = current()
    if not 0 < days <= _MAX_DAYS:
        raise TailorbirdError(f"An audit covers up to {_MAX_DAYS:,} days, not {days:g}.")
    if placements.one(installation.settings, placement).subject != "user":
        raise TailorbirdError(f"Lists of {placement!r} are about items; only lists for users can be audited.")
    try:
        window = read_audit_window(installation, placement, days, as_of)
    except NoAuditDataError as reason:
        log_info(str(reason))
        return {"placement": placement, "status": "nothing to audit", "verdict": str(reason), "groups": []}
    audit = run_audit(window.data, installation.settings.gate, _SEED)
    page, address = _published(installation, placement, window, audit)
    audit_id = _stored(installation, page, address)
    log_info(audit.verdict)
    if FlowRunContext.get() is not None:
        about = f"{audit.status}: what was served at {placement}"
        create_markdown_artifact(markdown(page, address), key=key_of(f"audit {placement}"), description=about)
    if audit.status == BEYOND_MARGIN:
        failing = [group._asdict() for group in audit.comparisons if not group.passed]
        payload = {"placement": placement, "reason": audit.verdict, "page": address, "groups": failing}
        events.try_emit(installation.endpoints, events.AUDIT, f"tailorbird.audit.{audit_id}", payload)
    return AuditResult(
        placement=placement,
        audit_id=audit_id,
        window=page.span,
        users=audit.users,
        status=audit.status,
        verdict=audit.verdict,
        page=address,
        groups=rows(audit),
    )


def _published(installation: Installation, placement: str, window: AuditWindow, audit: Audit) -> tuple[AuditPage, str]:
    """Store the page in an MLflow run of its own; return the page and its address."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    key = f"audit {placement} {window.start:.0f} {window.end:.0f}"
    settings = {"placement": placement, "from": moment(window.start), "to": moment(window.end), "seed": _SEED}
    flow_run = flow_run_page(installation)
    tags = {"stage": "audit", "status": audit.status, "git_commit": git_commit(), NOTE: audit.verdict}
    tags |= {PREFECT_RUN: flow_run} if flow_run else {}
    with (
        registry.active_run(f"audit {placement}", key, settings, tags) as run_id,
        TemporaryDirectory() as scratch,
    ):
        folder = Path(scratch)
        plot_audit(audit, folder)
        page = AuditPage(
            placement,
            window.start,
            window.end,
            window.versions,
            audit,
            installation.settings.gate,
            [Plot(title, about, folder / f"{name}.png") for name, (title, about, _, _) in PLOTS.items()],
            {"run": run_id, "git commit": tags["git_commit"], "seed": str(_SEED)},
            {TEXTS[PREFECT_RUN]: flow_run} if flow_run else {},
        )
        (folder / REPORT).write_text(render(page), encoding="utf-8")
        registry.log_folder(run_id, folder, FOLDER)
        registry.log(run_id, {f"audit/{name}": value for name, value in audit.summary.items()})
    return page, registry.artifact_page(run_id, f"{FOLDER}/{REPORT}")


def _stored(installation: Installation, page: AuditPage, address: str) -> int:
    row = {
        "placement": page.placement,
        "window_from": moment(page.start),
        "window_to": moment(page.end),
        "model_versions": list(page.versions),
        "status": page.audit.status,
        "figures": page.audit.as_dict(),
        "page": address,
    }
    with installation.engine.begin() as connection:
        statement = insert(audit_reports).values(row).returning(audit_reports.c.audit_id)
        return int(connection.execute(statement).scalar_one())
