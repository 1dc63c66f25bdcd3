"""Finds the models whose settings are due for a new search.

It is apart from the settings, which processes of trials read: importing Prefect is two fifths of their start.
"""

from prefect import task

from infra.database.engine import database_now
from infra.installation import current
from models.tuning.retune_policy import MAX_AGE_DAYS, LastSearch, reason_to_search
from tasks.tuning.best_settings import find_settings, user_shift


@task(description="Find the models whose settings are due for a new search, by age and by how far users have moved.")
def find_due_searches(version: str, kinds: list[str], max_age_days: float = MAX_AGE_DAYS) -> dict[str, str]:
    """Return the reason for each model whose search is due on a data set; the other models are left out."""
    installation, reasons = current(), {}
    with installation.engine.connect() as connection:
        now = database_now(connection)
    for kind in kinds:
        result = find_settings(installation, version, kind)
        if result and result["dataset_version"] == version:
            continue  # there are no new data since
        last = LastSearch(result["finished_at"], result["drift"]) if result else None
        drift = user_shift(result["dataset_version"], version) if result else 0.0
        reasons[kind] = reason_to_search(last, now, drift, max_age_days)
    return {kind: reason for kind, reason in reasons.items() if reason}
