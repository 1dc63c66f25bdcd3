"""The time at which a catalogue or an event first named each item"""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0036"


def upgrade() -> None:
    """Create the table; nothing is known of items that are there."""
    op.create_table(
        "item_appearances",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_item_appearances"),
        comment="When a catalogue or an event first named an item.",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("item_appearances")
