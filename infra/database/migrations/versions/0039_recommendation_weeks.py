"""What recommendations earned by week"""

from alembic import op

from infra.database.schema.monitoring_schema import recommendation_weeks

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Add the table; the next run of `monitor` fills it."""
    recommendation_weeks.create(op.get_bind())
