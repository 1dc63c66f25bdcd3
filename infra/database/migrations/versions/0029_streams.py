"""Streams: clicks of profiles keep their times, messages that cannot be used are dead letters, queues have a lag"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the times, and create the tables of streams."""
    times = sa.ARRAY(sa.DateTime(timezone=True))
    comment = "The time of each item; items without one are as old as the last change."
    op.add_column(
        "session_profiles", sa.Column("occurred_at", times, server_default="{}", nullable=False, comment=comment)
    )
    _dead_letters()
    _streams()


def downgrade() -> None:
    """Drop the tables and the times."""
    op.drop_table("streams")
    op.drop_table("dead_letters", schema="identity")
    op.drop_column("session_profiles", "occurred_at")


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("letter_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="What is wrong, in a sentence without values."),
        sa.Column("message_id", sa.Text(), comment="The broker's own id of the message, if it had one."),
        sa.Column("encoding", sa.Text(), server_default="", nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="What the sender wrote, with raw ids."),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the broker's id and the body."),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False, comment="How often it was delivered."),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), comment="When it was stored after all."),
        sa.PrimaryKeyConstraint("letter_id", name="pk_dead_letters"),
        sa.UniqueConstraint("source", "reason", "digest", name="uq_dead_letters_source"),
        sa.CheckConstraint("reason IN ('malformed', 'id_conflict', 'poison', 'broker')", name="ck_dead_letters_reason"),
        schema="identity",
        comment="Messages of brokers that could not be stored, as their senders wrote them.",
    )


def _streams() -> None:
    op.create_table(
        "streams",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("lag", sa.BigInteger(), nullable=False, comment="Messages that wait in the broker."),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("queue", name="pk_streams"),
        comment="Queues that consumers read, as the last consumer saw them.",
    )
