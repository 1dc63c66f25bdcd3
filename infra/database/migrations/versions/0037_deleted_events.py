"""The number of events of each batch that were deleted since"""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    """Count from now on; earlier deletions stay unknown."""
    op.add_column("ingest_batches", sa.Column("deleted", sa.BigInteger, nullable=False, server_default="0"))
