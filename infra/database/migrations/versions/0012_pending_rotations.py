"""Rotations of the pseudonym key that are not finished"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TABLE = "installation_fingerprints"
_BEFORE = (
    "Fingerprints of the keys, one row per key; the highest generation is in use. The kind `installation` holds the "
    "random id that var and lake hold too. A public signing key stays trusted until `retired_at`."
)


def upgrade() -> None:
    op.add_column(_TABLE, sa.Column("pending", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table_comment(_TABLE, f"{_BEFORE} A `pending` key is in use once all stores are re-keyed.")


def downgrade() -> None:
    op.create_table_comment(_TABLE, _BEFORE)
    op.drop_column(_TABLE, "pending")
