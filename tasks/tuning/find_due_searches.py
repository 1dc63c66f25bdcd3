"""Finds the models whose settings should be searched anew."""

from prefect import task

from infra.database.clock import database_now
from infra.installation import current
from models.tuning.retune_policy import MAX_AGE_DAYS, LastSearch, reason_to_search
from tasks.tuning.best_settings import find_settings, moved


@task(description="Which models' settings should be searched again, by age and by how far users have moved.")
def find_due_searches(version: str, kinds: list[str], max_age_days: float = MAX_AGE_DAYS) -> dict[str, str]:
    """The reasons why a search of these models is due for a data set; models for which it is not are left out."""
    installation, reasons = current(), {}
    with installation.engine.connect() as connection:
        now = database_now(connection)
    for kind in kinds:
        found = find_settings(installation, version, kind)
        if found and found["dataset_version"] == version:
            continue  # nothing is new since then
        last = LastSearch(found["finished_at"], found["drift"]) if found else None
        drift = moved(found["dataset_version"], version) if found else 0.0
        reasons[kind] = reason_to_search(last, now, drift, max_age_days)
    return {kind: reason for kind, reason in reasons.items() if reason}
