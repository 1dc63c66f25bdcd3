"""Session profiles hold the type of the event on each item, batches whether their refunds name known orders"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Add the types, and the mark of batches."""
    _add("session_profiles", "kinds", sa.ARRAY(sa.Text()), "{}", "The type of the event on each item.")
    orders = "Whether refunds of the batch take back only purchases of the order that they name."
    _add("ingest_batches", "refund_order", sa.Boolean(), "false", orders)


def downgrade() -> None:
    """Drop both."""
    op.drop_column("ingest_batches", "refund_order")
    op.drop_column("session_profiles", "kinds")


def _add(table: str, name: str, kind: sa.types.TypeEngine[Any], default: str, comment: str) -> None:
    op.add_column(table, sa.Column(name, kind, server_default=default, nullable=False, comment=comment))
