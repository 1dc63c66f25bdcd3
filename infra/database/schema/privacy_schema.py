"""Requests of people about their data, and the users that each names until it is carried out."""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Identity, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import metadata, moment

OPEN, DONE = "open", "done"
RESTRICT, LIFT, ERASE = "restrict", "lift", "erase"
ERASED: Final = "erased"
"""The `reason` of suppressions of users who were erased."""

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
    Column("removed", JSONB, nullable=False, server_default="{}", comment="Rows that were deleted, by store."),
    CheckConstraint("kind IN ('restrict', 'lift', 'erase')", name="ck_privacy_requests_kind"),
    CheckConstraint("state IN ('open', 'done')", name="ck_privacy_requests_state"),
    schema="identity",
    comment="Requests of people: to restrict the use of their data, to lift that, to be erased.",
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
