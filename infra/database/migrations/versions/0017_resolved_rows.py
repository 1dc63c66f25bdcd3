"""Which rows of quarantine a batch has resolved, to find without reading all"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    given = sa.text("resolved_by IS NOT NULL")
    op.create_index("ix_quarantine_resolved_by", "quarantine", ["resolved_by"], postgresql_where=given)


def downgrade() -> None:
    op.drop_index("ix_quarantine_resolved_by", "quarantine")
