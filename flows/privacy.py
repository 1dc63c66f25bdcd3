"""Carries out requests of people about their data."""

from prefect import flow, get_run_logger

from infra.installation import Installation, current
from infra.registry.client import Registry
from serving.events.spool import FOLDER, Spool
from serving.queries.dead_letters import dismiss, letters_naming
from tasks.ingest.inbox.move_inbox import move_waiting
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import ERASED, show
from tasks.privacy.erase_users import erase_restored, erase_users, waiting_users, write_tombstones
from tasks.privacy.erased_models import forget_models
from tasks.privacy.export_user import store_exports
from tasks.privacy.requests import add_devices


@flow(flow_run_name="erase users")
def privacy() -> dict[str, int]:
    """Carry out all requests that wait, and return the deleted rows by store.

    Users whose erasure a restored database has forgotten are erased again. Copies of data wait for no other work.
    Before an erasure the inbox is moved, which refuses the users' messages. Models that learned from erased users are
    deleted once the champion did not. After a stop the same run deletes what is left.
    """
    drop_missed_slots()
    here = current()
    add_devices(here)
    store_exports(here)
    removed = _erased(here)
    write_tombstones(here.engine, here.settings)
    forgotten = forget_models(here, Registry(here.endpoints.mlflow_tracking_uri))
    if forgotten.retraining:
        get_run_logger().info("A retraining is requested: %s", forgotten.retraining)
    removed |= {"models": forgotten.models} if forgotten.models else {}
    rows = [{"store": store, "rows": rows} for store, rows in removed.items()]
    if rows:
        show("erased", "Rows that were deleted", rows, ERASED)
    return removed


def _erased(here: Installation) -> dict[str, int]:
    erase_restored(here)
    users = waiting_users(here.engine)
    if not users:
        return {}
    move_waiting()
    letters = {letter for name in users.values() if name for letter in letters_naming(here.engine, name)}
    gone = {"identity.dead_letters": len(dismiss(here.engine, sorted(letters)))}
    gone["refused messages"] = Spool(here.settings.var / FOLDER, 0).erase_refused(set(users))
    removed = {**gone, **erase_users(here)}
    return {store: rows for store, rows in removed.items() if rows}
