"""The moment when the earlier data of a user were erased"""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0034"


def upgrade() -> None:
    """Mark users who were erased; who was erased by an earlier version stays suppressed until `lift`."""
    comment = "Nothing from before this moment is accepted again."
    op.add_column("users", sa.Column("erased_at", sa.DateTime(timezone=True), comment=comment))
    op.create_index("ix_users_erased_at", "users", ["erased_at"], postgresql_where=sa.text("erased_at IS NOT NULL"))
    op.execute(
        "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id, consent_at, refused_at, erased_at) "
        "SELECT user_key, '{}', false, 'erasure', '', since, since, since FROM suppressions WHERE reason = 'erased' "
        "ON CONFLICT DO NOTHING"
    )


def downgrade() -> None:
    """Forget the moments."""
    op.drop_index("ix_users_erased_at", "users")
    op.drop_column("users", "erased_at")
