"""What an item offers: its page, picture and stock, and from when to when it is sold"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "url": sa.Text(),
    "image": sa.Text(),
    "in_stock": sa.Boolean(),
    "available_from": sa.DateTime(timezone=True),
    "available_until": sa.DateTime(timezone=True),
}

_SHOWN = """entry.rank::int AS rank, named.item_id, item.title, item.category, item.brand, item.price, item.currency,
       entry.score, said.reason, batch.model_version, batch.batch_id"""

_BATCHES = """
FROM placements AS placement
JOIN recommendation_batches AS batch ON batch.batch_id = placement.batch_id
JOIN recommendations AS shelf ON shelf.batch_id = placement.batch_id
"""

_ENTRIES = """
CROSS JOIN LATERAL unnest(shelf.items, shelf.scores, shelf.reasons) WITH ORDINALITY AS entry (code, score, why, rank)
JOIN batch_items AS named ON named.batch_id = placement.batch_id AND named.code = entry.code
LEFT JOIN batch_reasons AS said ON said.batch_id = placement.batch_id AND said.code = entry.why
LEFT JOIN items AS item ON item.item_id = named.item_id
"""

_AGREED = """
WHERE batch.about = 'user'
  AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = shelf.subject)
"""

_PAGE = ", item.url, item.image"
# Stock and dates may have changed since the lists were made.
_SOLD = """
  AND item.in_stock IS NOT FALSE
  AND (item.available_from IS NULL OR item.available_from <= now())
  AND (item.available_until IS NULL OR item.available_until > now())
"""


def _views(shown: str, sold: str) -> str:
    # The order of the tables is that of 0006, which says why.
    return f"""
CREATE VIEW current_recommendations WITH (security_barrier = true) AS
SELECT placement.placement, shelf.subject AS user_key, {shown}
{_BATCHES}
JOIN users ON users.user_key = shelf.subject AND users.consent
{_ENTRIES}
{_AGREED}
{sold};

CREATE VIEW current_item_recommendations WITH (security_barrier = true) AS
SELECT placement.placement, shelf.subject AS for_item_id, {shown}
{_BATCHES}
{_ENTRIES}
WHERE batch.about = 'item'
{sold};

CREATE VIEW recommendations_by_user_id WITH (security_barrier = true) AS
SELECT identities.user_id, placement.placement, shelf.subject AS user_key, {shown}
{_BATCHES}
JOIN identity.users AS identities ON identities.user_key = shelf.subject
JOIN users ON users.user_key = shelf.subject AND users.consent
{_ENTRIES}
{_AGREED}
{sold}
"""


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        op.add_column("items", sa.Column(name, kind))
    # Replaced, not dropped: who was granted a view keeps it. Only at their end may views get columns.
    op.execute(_views(_SHOWN + _PAGE, _SOLD).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))


def downgrade() -> None:
    op.execute("DROP VIEW recommendations_by_user_id, current_recommendations, current_item_recommendations")
    op.execute(_views(_SHOWN, ""))
    for name in _COLUMNS:
        op.drop_column("items", name)
