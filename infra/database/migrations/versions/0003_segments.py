"""Static segments of users, by data set"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "segments",
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("rfm", sa.Text(), nullable=False),
        sa.Column("demographic", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version", "user_key", name=op.f("pk_segments")),
        comment="The static segments of each data set: what personalization has to beat, and what the cold get.",
    )
    op.create_table(
        "segment_descriptions",
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("users", sa.BigInteger(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("typical", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version", "kind", "segment", name=op.f("pk_segment_descriptions")),
    )


def downgrade() -> None:
    op.drop_table("segment_descriptions")
    op.drop_table("segments")
