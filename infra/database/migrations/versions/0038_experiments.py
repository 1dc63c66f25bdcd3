"""Experiments, the people in them, and lists by variant"""

from pathlib import Path

from alembic import op

from infra.database.engine import LIST_FILES
from infra.database.schema import schema
from infra.database.schema.experiment_schema import devices_of_users, experiment_readouts, experiment_units, experiments

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Replace the views and functions of lists by those that know variants."""
    for table in (experiments, experiment_units, experiment_readouts):
        table.create(op.get_bind())
    devices_of_users.create(op.get_bind())
    for name in LIST_FILES:
        op.get_bind().exec_driver_sql(
            (Path(schema.__file__).parent / "sql" / f"{name}.sql").read_text(),
            execution_options={"no_parameters": True},
        )
    op.execute(
        "CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON experiments "
        "FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table()"
    )
