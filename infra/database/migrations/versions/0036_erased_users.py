"""The moment when the earlier data of a user were erased"""

import sqlalchemy as sa
from alembic import op

from infra.database.schema.privacy_schema import erasure_notices
from infra.database.schema.trust_schema import trained_bundles

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Mark users who were erased; who was erased by an earlier version stays suppressed until `lift`."""
    origins = "origin IN ('drift', 'schedule', 'person', 'erasure')"
    op.drop_constraint("ck_retrain_requests_origin", "retrain_requests")
    op.create_check_constraint("ck_retrain_requests_origin", "retrain_requests", origins)
    erasure_notices.create(op.get_bind())
    op.add_column("trained_bundles", sa.Column("forgotten_at", sa.DateTime(timezone=True)))
    op.create_table_comment("trained_bundles", trained_bundles.comment)
    # A database that comes from before 0034 has the column.
    op.execute("ALTER TABLE identity.privacy_requests ADD COLUMN IF NOT EXISTS forgotten_at timestamptz")
    forgotten = "When the last model that learned from them was deleted."
    op.execute(f"COMMENT ON COLUMN identity.privacy_requests.forgotten_at IS '{forgotten}'")
    comment = "Nothing from before this moment is accepted again."
    op.add_column("users", sa.Column("erased_at", sa.DateTime(timezone=True), comment=comment))
    op.create_index("ix_users_erased_at", "users", ["erased_at"], postgresql_where=sa.text("erased_at IS NOT NULL"))
    op.execute(
        "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id, consent_at, refused_at, "
        "erased_at) SELECT user_key, '{}', false, 'erasure', '', since, since, since FROM suppressions "
        "WHERE reason = 'erased' ON CONFLICT DO NOTHING"
    )
