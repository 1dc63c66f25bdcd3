"""Requests of people about their data"""

from alembic import op

from infra.database.schema.privacy_schema import privacy_requests, privacy_subjects

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Create the tables of requests."""
    for table in (privacy_requests, privacy_subjects):
        table.create(op.get_bind())


def downgrade() -> None:
    """Drop them: requests that wait are lost."""
    for table in (privacy_subjects, privacy_requests):
        table.drop(op.get_bind())
