"""Dead letters of messages that are too large to be kept whole"""

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Allow the reason `too_large`."""
    _allow("'malformed', 'too_large', 'id_conflict', 'poison', 'broker'")


def downgrade() -> None:
    """Delete the letters that the former version does not know."""
    op.execute("DELETE FROM identity.dead_letters WHERE reason = 'too_large'")
    _allow("'malformed', 'id_conflict', 'poison', 'broker'")


def _allow(reasons: str) -> None:
    op.drop_constraint("ck_dead_letters_reason", "dead_letters", schema="identity")
    op.create_check_constraint("ck_dead_letters_reason", "dead_letters", f"reason IN ({reasons})", schema="identity")
