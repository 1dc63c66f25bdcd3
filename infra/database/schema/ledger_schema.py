"""Statuses of the ledger, and tables beside it: what each batch stated and repeated, and who changed the ledger."""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import metadata, moment

PENDING, COMMITTED, REFUSED = "pending", "committed", "refused"
UNDOING, UNDONE = "undoing", "undone"
"""A batch that no longer counts and is being removed, and a batch that is removed."""

ingest_applications = Table(
    "ingest_applications",
    metadata,
    Column("application_id", BigInteger, Identity(), primary_key=True),
    Column("batch_id", ForeignKey("ingest_batches.batch_id"), nullable=False),
    Column("repeats", BigInteger),
    moment("applied_at", now=True),
    Index("ix_ingest_applications_batch_id", "batch_id"),
    comment="Each time that the statements of a batch were applied, in order. `repeats` is an earlier application "
    "with the same statements; one with 0 holds the values from before statements were kept.",
)

ingest_statements = Table(
    "ingest_statements",
    metadata,
    Column("application_id", ForeignKey("ingest_applications.application_id"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("payload", JSONB, nullable=False),
    Column("field_timestamps", JSONB, nullable=False, server_default="{}"),
    moment("observed_at"),
    Index("ix_ingest_statements_key", "key"),
    comment="What batches stated of items, users and devices, so that an undone batch leaves what others stated.",
)

ingest_repeats = Table(
    "ingest_repeats",
    metadata,
    Column("batch_id", ForeignKey("ingest_batches.batch_id"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("events", LargeBinary, nullable=False),
    comment="Events of a batch that the lake held already, as compressed Arrow. They become the batch's own if the "
    "batch that brought them is undone.",
)

quarantine_repeats = Table(
    "quarantine_repeats",
    metadata,
    Column("batch_id", ForeignKey("ingest_batches.batch_id"), primary_key=True),
    Column("row_number", BigInteger, primary_key=True),
    Column("chunk", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("ix_quarantine_repeats_content", "content"),
    comment="Rows that broke a rule while an equal row was waiting already.",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("entry_id", BigInteger, Identity(), primary_key=True),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    moment("at", now=True),
    comment="Changes that people made to the ledger and the quarantine, with their reasons.",
)
UNDO_CHANGES: Final = ("events_removed", "items_removed", "items_changed", "users_removed", "users_changed")
"""Counts in the `detail` of an undo. If all are 0, lists and models are the same as without the batch."""
