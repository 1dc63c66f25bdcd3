"""Session profiles hold the type of the event on each item, so that a purchase is no click"""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Add the types."""
    types, comment = sa.ARRAY(sa.Text()), "The type of the event on each item."
    op.add_column("session_profiles", sa.Column("kinds", types, server_default="{}", nullable=False, comment=comment))


def downgrade() -> None:
    """Drop the types."""
    op.drop_column("session_profiles", "kinds")
