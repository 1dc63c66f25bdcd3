"""What items and users were known as before their values changed"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_TABLES = {"item_history": "item_id", "user_history": "user_key"}
_COMMENT = (
    "Values that changed: each counts from `since` on, until the next one. A value without a row here has "
    "never changed since it was first known."
)


def upgrade() -> None:
    for table, key in _TABLES.items():
        op.create_table(
            table,
            sa.Column(key, sa.Text(), nullable=False),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("since", sa.DateTime(timezone=True), nullable=False),
            sa.Column("value", sa.Text()),
            sa.PrimaryKeyConstraint(key, "name", "since", name=op.f(f"pk_{table}")),
            comment=_COMMENT,
        )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
