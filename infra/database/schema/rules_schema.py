"""The table of the versions of operators' rules."""

from sqlalchemy import CheckConstraint, Column, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import moment
from infra.database.schema.serving_schema import metadata as metadata

operator_rules = Table(
    "operator_rules",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rules", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("key_id", Text, nullable=False, comment="The API key that stored the version."),
    Column("restores", Integer, comment="The version that an undo made current again."),
    moment("created_at", now=True),
    CheckConstraint("version > 0", name="ck_operator_rules_version"),
    comment="Pins, hidden items and boosts of operators, a layer over the placements file. Each row is a whole layer; "
    "the highest version counts. Rows are only added.",
)
