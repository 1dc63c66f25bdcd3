"""What each batch stated, so that it can be undone, and how rows left quarantine"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"

_BATCH = "ingest_batches.batch_id"
_TABLES = ("ingest_statements", "ingest_applications", "ingest_repeats", "quarantine_repeats", "audit_log")
_BEFORE = "Rows that broke a rule. `content` identifies what a row of a source states and the rules it broke."
_NOW = (
    "Rows that broke a rule. `content` identifies what a row of a source states and the rules it broke, "
    "`subject` its event, item or user. Since `replayed_at` a row waits no more: its `outcome` is replayed, resolved "
    "(`resolved_by` a batch) or dismissed."
)
_SUBJECT = """
    UPDATE quarantine SET outcome = CASE WHEN replayed_at IS NOT NULL THEN 'replayed' END,
        subject = substring(sha256(convert_to(coalesce(
            payload ->> 'event_id', payload ->> 'item_id', payload ->> 'user_key'), 'UTF8')) FROM 1 FOR 16)"""
# The values there are now stand for what earlier batches stated: none of those batches can be undone.
_BASELINE = (
    """
    INSERT INTO ingest_applications (batch_id, repeats)
    SELECT batch_id, 0 FROM ingest_batches WHERE status = 'committed' ORDER BY finished_at""",
    """
    INSERT INTO ingest_statements (application_id, chunk, kind, key, said, times)
    SELECT (SELECT min(application_id) FROM ingest_applications), 0, 'item_table', item_id,
        to_jsonb(items) - ARRAY['item_id', 'batch_id', 'said_at'], said_at
    FROM items WHERE EXISTS (SELECT FROM ingest_applications)""",
    """
    INSERT INTO ingest_statements (application_id, chunk, kind, key, said)
    SELECT (SELECT min(application_id) FROM ingest_applications), 0, 'item_history', item_id,
        jsonb_build_object('changes', jsonb_agg(jsonb_build_object('name', name, 'since', since, 'value', value)))
    FROM item_history WHERE EXISTS (SELECT FROM ingest_applications) GROUP BY item_id""",
    """
    INSERT INTO ingest_statements (application_id, chunk, kind, key, said, times)
    SELECT (SELECT min(application_id) FROM ingest_applications), 0, 'user_table', user_key,
        to_jsonb(users) - ARRAY['user_key', 'batch_id', 'said_at'], said_at
    FROM users WHERE EXISTS (SELECT FROM ingest_applications)""",
    """
    INSERT INTO ingest_statements (application_id, chunk, kind, key, said)
    SELECT (SELECT min(application_id) FROM ingest_applications), 0, 'person', user_key, '{}'
    FROM identity.users WHERE EXISTS (SELECT FROM ingest_applications)""",
    """
    INSERT INTO ingest_statements (application_id, chunk, kind, key, said)
    SELECT (SELECT min(application_id) FROM ingest_applications), 0, 'user_history', user_key,
        jsonb_build_object('changes', jsonb_agg(jsonb_build_object('name', name, 'since', since, 'value', value)))
    FROM user_history WHERE EXISTS (SELECT FROM ingest_applications) GROUP BY user_key""",
    """
    INSERT INTO ingest_statements (application_id, chunk, kind, key, said, said_at)
    SELECT (SELECT min(application_id) FROM ingest_applications),
        row_number() OVER (PARTITION BY anonymous_key ORDER BY user_key), 'device', anonymous_key,
        jsonb_build_object('user_key', user_key), occurred_at
    FROM aliases WHERE EXISTS (SELECT FROM ingest_applications)""",
)


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=default)


def _batch() -> sa.Column[str]:
    return sa.Column("batch_id", sa.Text(), nullable=False)


def upgrade() -> None:
    _statements()
    _repeats()
    op.create_table(
        "audit_log",
        sa.Column("entry_id", sa.BigInteger(), sa.Identity(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("action", "subject", "actor", "reason")),
        sa.Column("detail", JSONB(), server_default="{}", nullable=False),
        _moment("at", now=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_log")),
        comment="What people changed in the ledger and in quarantine, and why.",
    )
    op.add_column("quarantine", sa.Column("subject", sa.LargeBinary()))
    op.add_column("quarantine", sa.Column("resolved_by", sa.Text()))
    op.add_column("quarantine", sa.Column("outcome", sa.Text()))
    op.execute(_SUBJECT)
    waits = sa.text("replayed_at IS NULL")
    op.create_index("ix_quarantine_subject", "quarantine", ["subject"], postgresql_where=waits)
    op.create_table_comment("quarantine", _NOW)
    for statement in _BASELINE:
        op.execute(statement)


def _statements() -> None:
    op.create_table(
        "ingest_applications",
        sa.Column("application_id", sa.BigInteger(), sa.Identity(), nullable=False),
        _batch(),
        sa.Column("repeats", sa.BigInteger()),
        _moment("applied_at", now=True),
        sa.ForeignKeyConstraint(["batch_id"], [_BATCH], name=op.f("fk_ingest_applications_batch_id")),
        sa.PrimaryKeyConstraint("application_id", name=op.f("pk_ingest_applications")),
        comment="Each time the statements of a batch were applied, in order. `repeats` is an earlier application with "
        "the same statements; one with 0 holds the values from before statements were kept.",
    )
    op.create_index(op.f("ix_ingest_applications_batch_id"), "ingest_applications", ["batch_id"])
    application = "ingest_applications.application_id"
    op.create_table(
        "ingest_statements",
        sa.Column("application_id", sa.BigInteger(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("said", JSONB(), nullable=False),
        sa.Column("times", JSONB(), server_default="{}", nullable=False),
        _moment("said_at"),
        sa.ForeignKeyConstraint(["application_id"], [application], name=op.f("fk_ingest_statements_application_id")),
        sa.PrimaryKeyConstraint("application_id", "chunk", "kind", "key", name=op.f("pk_ingest_statements")),
        comment="What batches stated of items, users and devices, so that an undone batch leaves what others stated.",
    )
    op.create_index("ix_ingest_statements_key", "ingest_statements", ["key"])


def _repeats() -> None:
    op.create_table(
        "ingest_repeats",
        _batch(),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], [_BATCH], name=op.f("fk_ingest_repeats_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "chunk", name=op.f("pk_ingest_repeats")),
        comment="Events of a batch that the lake held already, as compressed Arrow: they are its own once the batch "
        "that brought them is undone.",
    )
    op.create_table(
        "quarantine_repeats",
        _batch(),
        sa.Column("row_number", sa.BigInteger(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], [_BATCH], name=op.f("fk_quarantine_repeats_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "row_number", name=op.f("pk_quarantine_repeats")),
        comment="Rows that broke a rule while an equal row waited already.",
    )
    op.create_index("ix_quarantine_repeats_content", "quarantine_repeats", ["content"])


def downgrade() -> None:
    op.create_table_comment("quarantine", _BEFORE)
    op.drop_index("ix_quarantine_subject", "quarantine")
    for name in ("outcome", "resolved_by", "subject"):
        op.drop_column("quarantine", name)
    for table in _TABLES:
        op.drop_table(table)
