"""How far users had moved when settings were searched"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("search_results", sa.Column("drift", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("search_results", "drift")
