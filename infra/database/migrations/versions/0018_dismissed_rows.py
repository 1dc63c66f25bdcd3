"""Which rows of quarantine were dismissed, to find without reading all"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_index(
        "ix_quarantine_dismissed", "quarantine", ["subject"], postgresql_where=sa.text("outcome = 'dismissed'")
    )


def downgrade() -> None:
    op.drop_index("ix_quarantine_dismissed", "quarantine")
