"""Comments on the columns of items that say whether an item is sold"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_COMMENTS = {
    "available": "Whether the item is merchandise; false for fees, deposits and the like. Stock is in in_stock.",
    "in_stock": "Whether it is in stock (the mapping's key available). Empty means unknown, which counts as true.",
    "available_from": "When the sale begins; empty if it has no beginning.",
    "available_until": "When the sale ends; empty if it has no end.",
}


def upgrade() -> None:
    for name, comment in _COMMENTS.items():
        op.alter_column("items", name, existing_type=_type(name), comment=comment)


def downgrade() -> None:
    for name, comment in _COMMENTS.items():
        op.alter_column("items", name, existing_type=_type(name), comment=None, existing_comment=comment)


def _type(name: str) -> sa.types.TypeEngine[bool] | sa.DateTime:
    return sa.DateTime(timezone=True) if "_from" in name or "_until" in name else sa.Boolean()
