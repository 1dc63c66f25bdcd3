"""What is usual, what was seen, what was decided, and retraining that was asked for"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"


def _id(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), sa.Identity(), nullable=False)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable and not now)


def upgrade() -> None:
    _calibrations()
    _reports()
    _requests()
    _lists()
    op.execute(_SIGNALS)


def _calibrations() -> None:
    op.create_table(
        "drift_calibrations",
        _id("calibration_id"),
        sa.Column("promotion_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("window_days", sa.Integer(), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        _moment("reference_from", nullable=False),
        _moment("reference_to", nullable=False),
        sa.Column("calibration", JSONB(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _moment("calibrated_at", now=True),
        sa.PrimaryKeyConstraint("calibration_id", name=op.f("pk_drift_calibrations")),
        comment="What is usual, by champion: the newest row of a promotion counts. Somebody may say that what is seen "
        "now is usual from now on.",
    )


def _reports() -> None:
    op.create_table(
        "drift_reports",
        _id("report_id"),
        sa.Column("calibration_id", sa.BigInteger(), nullable=False),
        sa.Column("promotion_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        _moment("window_from", nullable=False),
        _moment("window_to", nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("joint", sa.Float(), nullable=True),
        sa.Column("joint_limit", sa.Float(), nullable=False),
        sa.Column("drivers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("signals", JSONB(), nullable=False),
        sa.Column("feed", JSONB(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=True),
        sa.Column("page", sa.Text(), nullable=True),
        _moment("created_at", now=True),
        sa.ForeignKeyConstraint(
            ["calibration_id"],
            ["drift_calibrations.calibration_id"],
            name=op.f("fk_drift_reports_calibration_id"),
        ),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_drift_reports")),
        sa.UniqueConstraint("calibration_id", "window_to", name=op.f("uq_drift_reports_calibration_id")),
        sa.CheckConstraint(
            "verdict IN ('steady', 'violated', 'broken', 'thin')", name=op.f("ck_drift_reports_verdict")
        ),
        sa.CheckConstraint("decision IN ('none', 'retrain', 'blocked')", name=op.f("ck_drift_reports_decision")),
        comment="One row a window: what was seen, whether it left its band, and what was decided, with the reasons.",
    )


def _requests() -> None:
    op.create_table(
        "retrain_requests",
        _id("request_id"),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("flow_run", sa.Text(), nullable=True),
        _moment("requested_at", now=True),
        _moment("started_at"),
        _moment("leased_until"),
        _moment("finished_at"),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("steps", JSONB(), nullable=False, server_default="{}"),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_retrain_requests")),
        sa.CheckConstraint("origin IN ('drift', 'schedule', 'person')", name=op.f("ck_retrain_requests_origin")),
        sa.CheckConstraint(
            "status IN ('requested', 'running', 'done', 'failed')", name=op.f("ck_retrain_requests_status")
        ),
        comment="Retraining that was asked for: one is open at a time, and whoever works on it holds a lease and its "
        "fence.",
    )
    op.create_index(
        "one_open_retrain_request",
        "retrain_requests",
        [sa.text("(true)")],
        unique=True,
        postgresql_where=sa.text("status IN ('requested', 'running')"),
    )


def _lists() -> None:
    op.create_table(
        "showings",
        _id("showing_id"),
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        _moment("published_at", now=True),
        sa.PrimaryKeyConstraint("showing_id", name=op.f("pk_showings")),
        comment="Every time a placement's pointer moved: what it moved to was shown until the next row of the "
        "placement. A batch that is shown again after another one has a row for each time.",
    )
    op.create_index("showings_of_a_placement", "showings", ["placement", "published_at"])
    op.create_table(
        "published_lists",
        sa.Column("showing_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("items", sa.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["showing_id"], ["showings.showing_id"], name=op.f("fk_published_lists_showing_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("showing_id", "subject", name=op.f("pk_published_lists")),
        comment="What a sample of users was shown, kept when the batch itself is dropped: accuracy as it came true.",
    )


def downgrade() -> None:
    op.execute("DROP VIEW drift_signals")
    for table in ("published_lists", "showings", "retrain_requests", "drift_reports", "drift_calibrations"):
        op.drop_table(table)


_SIGNALS = """
CREATE VIEW drift_signals AS
SELECT report.window_from, report.window_to, report.model_version, seen.signal, seen.value, seen.low, seen.high,
       seen.deviation, seen.counted, seen.signal = ANY (report.drivers) AS drove, report.verdict, report.report_id
FROM drift_reports AS report
CROSS JOIN LATERAL jsonb_to_recordset(report.signals)
    AS seen (signal text, value float, low float, high float, deviation float, counted boolean)
"""
