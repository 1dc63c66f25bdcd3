"""Rules of operators: versions of the layer over the placements file, and the rules that each batch was made under"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Create the table, its notification, and the columns of batches."""
    op.create_table(
        "operator_rules",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rules", postgresql.JSONB(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False, comment="The API key that stored the version."),
        sa.Column("restores", sa.Integer(), comment="The version that an undo made current again."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_operator_rules")),
        sa.CheckConstraint("version > 0", name=op.f("ck_operator_rules_version")),
        comment="Pins, hidden items and boosts of operators, a layer over the placements file. Each row is a whole "
        "layer; the highest version counts. Rows are only added.",
    )
    op.execute(
        "CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON operator_rules "
        "FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table()"
    )
    for column in (
        sa.Column("rules_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "operator_rules",
            postgresql.JSONB(),
            server_default="{}",
            nullable=False,
            comment="The rules of operators that counted when the lists were made.",
        ),
    ):
        op.add_column("recommendation_batches", column)


def downgrade() -> None:
    """Drop the columns and the table."""
    for name in ("operator_rules", "rules_version"):
        op.drop_column("recommendation_batches", name)
    op.drop_table("operator_rules")
