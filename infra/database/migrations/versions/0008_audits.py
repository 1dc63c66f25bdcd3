"""Audits of what was served"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "audit_reports",
        sa.Column("audit_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("window_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_versions", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("figures", JSONB(), nullable=False),
        sa.Column("page", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit_reports")),
        sa.CheckConstraint(
            "status IN ('within margin', 'beyond margin', 'not judged')", name=op.f("ck_audit_reports_status")
        ),
        comment="One row an audit of what was served: figures by group of people, exposure, and whether a group is "
        "served worse than everybody else. The view audit_groups has a row for each figure of each group.",
    )
    op.execute(_GROUPS)


def downgrade() -> None:
    op.execute("DROP VIEW audit_groups")
    op.drop_table("audit_reports")


_GROUPS = """
CREATE VIEW audit_groups AS
SELECT report.audit_id, report.placement, report.window_from, report.window_to, served.trait, served.value AS "group",
       served.users, served.acted, told.key AS figure, (told.value ->> 'value')::float AS value,
       (told.value ->> 'low')::float AS low, (told.value ->> 'high')::float AS high
FROM audit_reports AS report
CROSS JOIN LATERAL jsonb_to_recordset(report.figures -> 'groups')
    AS served (trait text, value text, users bigint, acted bigint, figures jsonb)
CROSS JOIN LATERAL jsonb_each(served.figures) AS told
WHERE jsonb_typeof(told.value) = 'object'
"""
