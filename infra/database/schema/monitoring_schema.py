"""Tables of monitoring: calibrations, drift reports, retrain requests, publication periods, weekly figures."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import metadata, moment

drift_calibrations = Table(
    "drift_calibrations",
    metadata,
    Column("calibration_id", BigInteger, Identity(), primary_key=True),
    Column("promotion_id", BigInteger, nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("window_days", Integer, nullable=False),
    Column("windows", Integer, nullable=False),
    Column("reference_from", DateTime(timezone=True), nullable=False),
    Column("reference_to", DateTime(timezone=True), nullable=False),
    Column("calibration", JSONB, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    moment("calibrated_at", now=True),
    comment="Reference figures of each champion; the newest row of a promotion counts. A person can declare the "
    "current behaviour usual.",
)

drift_reports = Table(
    "drift_reports",
    metadata,
    Column("report_id", BigInteger, Identity(), primary_key=True),
    Column("calibration_id", ForeignKey("drift_calibrations.calibration_id"), nullable=False),
    Column("promotion_id", BigInteger, nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("window_from", DateTime(timezone=True), nullable=False),
    Column("window_to", DateTime(timezone=True), nullable=False),
    Column("verdict", Text, nullable=False),
    Column("joint", Float),
    Column("joint_threshold", Float, nullable=False),
    Column("drivers", ARRAY(Text), nullable=False),
    Column("signals", JSONB, nullable=False),
    Column("feed", JSONB, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("request_id", BigInteger),
    Column("page", Text),
    moment("created_at", now=True),
    UniqueConstraint("calibration_id", "window_to"),
    CheckConstraint(
        "verdict IN ('stable', 'drifted', 'invalid_feed', 'insufficient_data')", name="ck_drift_reports_verdict"
    ),
    CheckConstraint("decision IN ('none', 'retrain', 'blocked')", name="ck_drift_reports_decision"),
    comment="One row per window: its figures, whether they left their bands, and the decision with its reasons.",
)

retrain_requests = Table(
    "retrain_requests",
    metadata,
    Column("request_id", BigInteger, Identity(), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("report_id", BigInteger),
    Column("status", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("flow_run", Text),
    moment("requested_at", now=True),
    moment("started_at"),
    moment("leased_until"),
    moment("finished_at"),
    Column("outcome", Text),
    Column("steps", JSONB, nullable=False, server_default="{}"),
    CheckConstraint("origin IN ('drift', 'schedule', 'person', 'erasure')", name="ck_retrain_requests_origin"),
    CheckConstraint("status IN ('requested', 'running', 'done', 'failed')", name="ck_retrain_requests_status"),
    comment="Requests to retrain. One is open at a time; its worker holds a lease and the fence.",
)
Index(
    "one_open_retrain_request",
    text("(true)"),
    unique=True,
    postgresql_where=retrain_requests.c.status.in_(("requested", "running")),
    _table=retrain_requests,
)

publication_periods = Table(
    "publication_periods",
    metadata,
    Column("period_id", BigInteger, Identity(), primary_key=True),
    Column("placement", Text, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    moment("published_at", now=True),
    comment="Each change of a placement's pointer. Its batch was shown until the next row of the placement. A batch "
    "that is shown again later has a second row.",
)
Index("publication_periods_of_a_placement", publication_periods.c.placement, publication_periods.c.published_at)

published_lists = Table(
    "published_lists",
    metadata,
    Column("period_id", ForeignKey("publication_periods.period_id", ondelete="CASCADE"), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("items", ARRAY(Text), nullable=False),
    comment="The lists that a sample of users was shown, kept after the batch itself is dropped, to measure accuracy "
    "later.",
)

audit_reports = Table(
    "audit_reports",
    metadata,
    Column("audit_id", BigInteger, Identity(), primary_key=True),
    Column("placement", Text, nullable=False),
    Column("window_from", DateTime(timezone=True), nullable=False),
    Column("window_to", DateTime(timezone=True), nullable=False),
    Column("model_versions", ARRAY(Integer), nullable=False),
    Column("status", Text, nullable=False),
    Column("figures", JSONB, nullable=False),
    Column("page", Text),
    moment("created_at", now=True),
    CheckConstraint("status IN ('within margin', 'beyond margin', 'not judged')", name="ck_audit_reports_status"),
    comment="One row per audit of served lists: figures by group of people, exposure, and whether a group is served "
    "worse than all others. The view audit_groups has a row for each figure of each group.",
)

recommendation_weeks = Table(
    "recommendation_weeks",
    metadata,
    Column("week", Date, primary_key=True, comment="Its Monday, in UTC."),
    Column("placement", Text, primary_key=True, comment="Empty for all placements together."),
    Column("impressions", BigInteger, nullable=False),
    Column("clicks", BigInteger, nullable=False),
    Column("baskets", BigInteger, nullable=False),
    Column("purchases", BigInteger, nullable=False),
    Column("value", Float, nullable=False, comment="Of these purchases."),
    Column("revenue", Float, nullable=False, comment="Of all purchases of the week, with and without a click."),
    Column("currency", Text, comment="The most frequent one; amounts in others are left out."),
    Column("users", BigInteger, nullable=False, comment="Who had an impression."),
    Column("click_through", Float, comment="The share of impressions with a click within a day."),
    Column("low", Float),
    Column("high", Float),
    moment("counted_at", now=True),
    comment="What recommendations earned by week. Additions to the basket and purchases are those within a day after "
    "the user's click on the same item.",
)
