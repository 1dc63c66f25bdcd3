"""What identifies a row in quarantine by its content"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_INDEX = "ix_quarantine_content"
_COMMENT = "Rows that broke a rule. `content` identifies what a row of a source states and the rules it broke."
_FILL = """
    UPDATE quarantine SET content = substring(sha256(convert_to(concat_ws(chr(31),
        ingest_batches.source, array_to_string(rule_ids, ','),
        coalesce(payload ->> 'payload_hash', (payload - ARRAY['file', 'line', 'offset'])::text)), 'UTF8'))
        FROM 1 FOR 16)
    FROM ingest_batches WHERE ingest_batches.batch_id = quarantine.batch_id"""


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("content", sa.LargeBinary(), nullable=True))
    op.execute(_FILL)
    op.create_table_comment("quarantine", _COMMENT)
    op.create_index(_INDEX, "quarantine", ["content"])


def downgrade() -> None:
    op.drop_table_comment("quarantine")
    op.drop_index(_INDEX, "quarantine")
    op.drop_column("quarantine", "content")
