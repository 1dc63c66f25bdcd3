"""Audits the served lists."""

from datetime import date

from prefect import flow

from tasks.monitoring.audit.audit_lists import AuditResult, audit_lists
from tasks.orchestration.form_fields import Words
from tasks.orchestration.missed_schedules import drop_missed_slots


@flow(flow_run_name="audit {placement}")
def audit(placement: Words = "home", days: float = 28, as_of: date | None = None) -> AuditResult:
    """Audit the lists that users really saw: is a group served worse, and which items get the places?

    Args:
        placement: The placement of the lists; its lists have to be for users.
        days: How many days to audit.
        as_of: The first excluded day, in UTC; by default the audit ends with the newest event.
    """
    drop_missed_slots()
    return audit_lists(placement, days, as_of)
