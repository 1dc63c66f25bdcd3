"""Offsets of Kafka's topics, which commit with the rows of their messages"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "stream_offsets",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False, comment="All messages before it are stored."),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("source", "topic", "partition", name="pk_stream_offsets"),
        comment="How far the topics of Kafka are stored. The broker's own offsets follow.",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("stream_offsets")
