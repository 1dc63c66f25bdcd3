"""Values of updates are `payload`, the time of each is in `field_timestamps`, the time of an answer `observed_at`"""

from alembic import op

revision = "0021"
down_revision = "0020"

_COLUMNS = (
    *((table, "said_at", "field_timestamps") for table in ("items", "users")),
    *((table, "said", "payload") for table in ("ingest_updates", "ingest_statements")),
    *((table, "times", "field_timestamps") for table in ("ingest_updates", "ingest_statements")),
    *((table, "said_at", "observed_at") for table in ("ingest_updates", "ingest_statements")),
)
_UPDATES = "What a batch states of items, users and devices until it is committed. Then the values are applied."
_UPDATES_BEFORE = "What a batch on its way in says of items, users and devices; it counts once the batch is committed."


def upgrade() -> None:
    for table, old, new in _COLUMNS:
        op.alter_column(table, old, new_column_name=new)
    op.create_table_comment("ingest_updates", _UPDATES)


def downgrade() -> None:
    op.create_table_comment("ingest_updates", _UPDATES_BEFORE)
    for table, old, new in _COLUMNS:
        op.alter_column(table, new, new_column_name=old)
