"""Requests of people about their data, and the users that each names until it is carried out."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import metadata, moment

OPEN, DONE = "open", "done"
RESTRICT, LIFT, ERASE = "restrict", "lift", "erase"
EXPORT, CORRECT, OBJECT, WITHDRAW = "export", "correct", "object", "withdraw"
KINDS: Final = (RESTRICT, LIFT, ERASE, EXPORT, CORRECT, OBJECT, WITHDRAW)
ERASED: Final = "erased"
"""The `reason` of suppressions of users whose erasure waits."""

privacy_requests = Table(
    "privacy_requests",
    metadata,
    Column("request_id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("users", Integer, nullable=False, comment="How many users it names."),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    moment("asked_at", now=True),
    moment("due_at", now=True),
    moment("done_at"),
    Column("forgotten_at", DateTime(timezone=True), comment="When the last model that learned from them was deleted."),
    Column("removed", JSONB, nullable=False, server_default="{}", comment="Rows that were deleted, by store."),
    Column("suppress", Boolean, nullable=False, server_default="false", comment="Whether erased users stay away."),
    Column("purpose", Text, comment="The placement that an objection is to, or its withdrawal."),
    CheckConstraint(f"kind IN {KINDS}", name="ck_privacy_requests_kind"),
    CheckConstraint("state IN ('open', 'done')", name="ck_privacy_requests_state"),
    schema="identity",
    comment="Requests of people: to be erased, for a copy or a correction, and about the use of their data.",
)

privacy_subjects = Table(
    "privacy_subjects",
    metadata,
    Column("request_id", ForeignKey("identity.privacy_requests.request_id"), primary_key=True),
    Column("user_key", Text, primary_key=True, comment="Of a user, or of a device of that user."),
    Column("user_id", Text, comment="The raw id; empty for a device, or an id that only its key is known of."),
    Index("ix_privacy_subjects_user_key", "user_key"),
    schema="identity",
    comment="The users and devices of requests that wait. They are deleted when the request is done.",
)

privacy_files = Table(
    "privacy_files",
    metadata,
    Column("request_id", ForeignKey("identity.privacy_requests.request_id"), primary_key=True),
    Column("user_key", Text, nullable=False),
    Column("content", LargeBinary, nullable=False, comment="A zip."),
    moment("made_at", now=True),
    schema="identity",
    comment="Copies of the data of users who asked for them. They are kept for 7 days.",
)

erasure_notices = Table(
    "erasure_notices",
    metadata,
    Column("user_id", Text, primary_key=True, comment="The raw id."),
    moment("made_at", now=True),
    schema="identity",
    comment="Erased users, of whom the next consumer of a stream notifies receivers of lists. Kept for seven days.",
)
