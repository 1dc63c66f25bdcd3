"""Audits what was served."""

from datetime import date

from prefect import flow

from tasks.monitoring.audit.audit_lists import AuditResult, audit_lists
from tasks.orchestration.form_fields import Words
from tasks.orchestration.missed_schedules import drop_missed_slots


@flow(flow_run_name="audit {placement}")
def audit(placement: Words = "home", days: float = 28, as_of: date | None = None) -> AuditResult:
    """Look at the lists that people were really shown: is a group served worse, and who gets the places?

    Args:
        placement: Where the lists were shown; they have to be lists for users.
        days: How far back to look.
        as_of: The first day that is left out, in UTC; by default it ends with the newest event.
    """
    drop_missed_slots()
    return audit_lists(placement, days, as_of)
