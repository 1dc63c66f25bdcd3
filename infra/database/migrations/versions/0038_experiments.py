"""Experiments, the people in them, and lists by variant"""

from alembic import op

from infra.database.engine import LIST_FILES, run_files
from infra.database.schema.experiment_schema import devices_of_users, experiment_readouts, experiment_units, experiments

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Replace the views and functions of lists by those that know variants."""
    for table in (experiments, experiment_units, experiment_readouts):
        table.create(op.get_bind())
    devices_of_users.create(op.get_bind())
    run_files(op.get_bind(), *LIST_FILES)
    op.execute(
        "CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON experiments "
        "FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table()"
    )
