"""What customers usually pay for an item"""

import sqlalchemy as sa
from alembic import op

from infra.database.schema.schema import PAID

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    """Leave the prices open; the next data set finds them."""
    op.add_column("items", sa.Column("price_paid", sa.Float, comment=PAID))
    op.add_column("items", sa.Column("currency_paid", sa.Text))
