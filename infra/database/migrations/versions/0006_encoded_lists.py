"""Lists as integer codes, placements about items, and a fence for publishing"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"

_WORDS = (("batch_items", "item_id"), ("batch_reasons", "reason"))

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

# PostgreSQL looks for the best order among 8 tables at most (join_collapse_limit), the first ones here: whose lists are
# asked for is said there. A view of a view would have one user's lists sought after those of everybody were joined.
_VIEWS = f"""
CREATE VIEW current_recommendations AS
SELECT placement.placement, shelf.subject AS user_key, {_SHOWN}
{_BATCHES}
JOIN users ON users.user_key = shelf.subject AND users.consent
{_ENTRIES}
{_AGREED};

CREATE VIEW current_item_recommendations AS
SELECT placement.placement, shelf.subject AS for_item_id, {_SHOWN}
{_BATCHES}
{_ENTRIES}
WHERE batch.about = 'item';

CREATE VIEW recommendations_by_user_id AS
SELECT identities.user_id, placement.placement, shelf.subject AS user_key, {_SHOWN}
{_BATCHES}
JOIN identity.users AS identities ON identities.user_key = shelf.subject
JOIN users ON users.user_key = shelf.subject AND users.consent
{_ENTRIES}
{_AGREED}
"""

_BEFORE = """
CREATE VIEW current_recommendations AS
SELECT placement.placement, shelf.user_key, entry.rank::int AS rank, entry.item_id, item.title, item.category,
       entry.score, entry.reason, batch.model_version, batch.batch_id
FROM placements AS placement
JOIN recommendation_batches AS batch ON batch.batch_id = placement.batch_id
JOIN recommendations AS shelf ON shelf.batch_id = placement.batch_id
CROSS JOIN LATERAL unnest(shelf.item_ids, shelf.scores, shelf.reasons) WITH ORDINALITY
    AS entry (item_id, score, reason, rank)
LEFT JOIN items AS item ON item.item_id = entry.item_id
JOIN users ON users.user_key = shelf.user_key AND users.consent
WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = shelf.user_key);

CREATE VIEW recommendations_by_user_id AS
SELECT identities.user_id, current.*
FROM identity.users AS identities
JOIN current_recommendations AS current USING (user_key)
"""

_KEPT = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'earlier'::regclass"

_TRANSLATED = """
CREATE TABLE {table} PARTITION OF recommendations FOR VALUES IN ({batch_id});
CREATE TABLE batch_items_{batch_id} PARTITION OF batch_items FOR VALUES IN ({batch_id});
CREATE TABLE batch_reasons_{batch_id} PARTITION OF batch_reasons FOR VALUES IN ({batch_id});
INSERT INTO batch_items
SELECT {batch_id}, row_number() OVER (ORDER BY word) - 1, word
FROM (SELECT DISTINCT unnest(item_ids) FROM {old}) AS w (word);
INSERT INTO batch_reasons
SELECT {batch_id}, row_number() OVER (ORDER BY word) - 1, word
FROM (SELECT DISTINCT unnest(reasons) FROM {old}) AS w (word) WHERE word IS NOT NULL;
INSERT INTO recommendations
SELECT {batch_id}, user_key,
    ARRAY(SELECT code FROM unnest(item_ids) WITH ORDINALITY AS entry (item_id, rank)
          JOIN batch_items_{batch_id} USING (item_id) ORDER BY rank),
    scores,
    ARRAY(SELECT code FROM unnest(reasons) WITH ORDINALITY AS entry (reason, rank)
          LEFT JOIN batch_reasons_{batch_id} USING (reason) ORDER BY rank)
FROM {old}
"""


def upgrade() -> None:
    op.execute("DROP VIEW recommendations_by_user_id, current_recommendations")
    op.execute("ALTER TABLE recommendations RENAME TO earlier")
    op.execute("ALTER INDEX pk_recommendations RENAME TO pk_earlier")
    _tables()
    for table in op.get_bind().execute(sa.text(_KEPT)).scalars().all():
        old = f"earlier_{table.rpartition('_')[2]}"
        op.execute(f"ALTER TABLE {table} RENAME TO {old}")
        op.execute(f"ALTER INDEX IF EXISTS {table}_pkey RENAME TO {old}_pkey")
        op.execute(_TRANSLATED.format(table=table, old=old, batch_id=int(table.rpartition("_")[2])))
    op.drop_table("earlier")
    op.execute(_VIEWS)


def _tables() -> None:
    op.add_column("recommendation_batches", sa.Column("about", sa.Text(), nullable=False, server_default="user"))
    op.add_column("recommendation_batches", sa.Column("k", sa.Integer(), nullable=False, server_default="20"))
    op.add_column("recommendation_batches", sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("recommendation_batches", sa.Column("summary", JSONB(), nullable=False, server_default="{}"))
    op.add_column("recommendation_batches", sa.Column("detail", sa.Text(), nullable=True))
    op.add_column("placements", sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("placements", sa.Column("moved_by", sa.Text(), nullable=True))
    checked = sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    op.add_column("placements", checked)
    op.execute("CREATE SEQUENCE recommendation_fence")
    op.create_table(
        "recommendations",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("items", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("scores", sa.ARRAY(sa.REAL()), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("short", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "subject", name=op.f("pk_recommendations")),
        comment="One list per user_key (or item_id, in placements about items) and batch, as codes of the batch's own "
        "tables of words; the views current_recommendations and current_item_recommendations give one row per rank.",
        postgresql_partition_by="LIST (batch_id)",
    )
    for table, word in _WORDS:
        op.create_table(
            table,
            sa.Column("batch_id", sa.BigInteger(), nullable=False),
            sa.Column("code", sa.Integer(), nullable=False),
            sa.Column(word, sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("batch_id", "code", name=op.f(f"pk_{table}")),
            postgresql_partition_by="LIST (batch_id)",
        )

    op.create_table(
        "exclusions",
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_key", "kind", "value", name=op.f("pk_exclusions")),
        sa.CheckConstraint("kind IN ('item', 'brand', 'category')", name=op.f("ck_exclusions_kind")),
        comment="What single users are never shown: an item, a brand, or a category with all below it.",
    )


def downgrade() -> None:
    """The lists are not translated back: there are none until the next `tailorbird score`."""
    op.execute("DROP VIEW recommendations_by_user_id, current_recommendations, current_item_recommendations")
    op.execute("DROP TABLE recommendations, batch_items, batch_reasons")
    op.execute("DROP SEQUENCE recommendation_fence")
    op.drop_table("exclusions")
    op.execute("DELETE FROM placements")
    op.execute("DELETE FROM recommendation_batches")
    for name in ("about", "k", "fence", "summary", "detail"):
        op.drop_column("recommendation_batches", name)
    for name in ("fence", "moved_by", "checked_at"):
        op.drop_column("placements", name)
    op.create_table(
        "recommendations",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("item_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("scores", sa.ARRAY(sa.REAL()), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "user_key", name=op.f("pk_recommendations")),
        comment="One row per user and batch; the view current_recommendations gives one row per rank.",
        postgresql_partition_by="LIST (batch_id)",
    )
    op.execute(_BEFORE)
