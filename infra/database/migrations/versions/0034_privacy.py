"""Requests of people about their data"""

from alembic import op

from infra.database.schema.privacy_schema import privacy_requests, privacy_subjects

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Create the tables of requests."""
    for table in (privacy_requests, privacy_subjects):
        table.create(op.get_bind())
