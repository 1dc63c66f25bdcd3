"""Reviews that expire, decisions that say how they came, and rollbacks"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"

_REVIEWS: tuple[sa.Column[Any], ...] = (
    sa.Column("groups", JSONB(), nullable=False, server_default="[]"),
    sa.Column("against", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("via", sa.Text(), nullable=True),
    sa.Column("overridden", sa.Boolean(), nullable=False, server_default="false"),
)
_PROMOTIONS: tuple[sa.Column[Any], ...] = (
    sa.Column("via", sa.Text(), nullable=False, server_default="command"),
    sa.Column("gate", JSONB(), nullable=False, server_default="[]"),
    sa.Column("overridden", sa.Boolean(), nullable=False, server_default="false"),
    sa.Column("restores", sa.BigInteger(), nullable=True),
    sa.Column("followed_at", sa.DateTime(timezone=True), nullable=True),
)


def upgrade() -> None:
    for column in _REVIEWS:
        op.add_column("reviews", column)
    for column in _PROMOTIONS:
        op.add_column("promotions", column)
    # The aliases have followed these long since. What was asked before there was a deadline has none.
    op.execute("UPDATE promotions SET followed_at = promoted_at")
    op.execute(
        "UPDATE reviews SET against = coalesce((SELECT max(promotion_id) FROM promotions "
        "WHERE promoted_at < reviews.requested_at), 0)"
    )
    op.create_table_comment("reviews", _ASKED)
    op.create_table_comment("promotions", f"{_FOLLOWS} {_RESTORES}", existing_comment=_FOLLOWS)


def downgrade() -> None:
    op.create_table_comment("promotions", _FOLLOWS)
    op.drop_table_comment("reviews")
    for column in _PROMOTIONS:
        op.drop_column("promotions", column.name)
    for column in _REVIEWS:
        op.drop_column("reviews", column.name)


_ASKED = "`against` is the promotion that the gate compared with (0: none): no other champion is replaced."
_FOLLOWS = "Each row replaces the champion it `follows` (0: none): a second row after the same one is refused."
_RESTORES = "`restores` is the earlier row that a rollback went back to; at `followed_at` MLflow's alias came after."
