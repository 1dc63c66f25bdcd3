"""The first schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

CURRENT_RECOMMENDATIONS = """
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
WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = shelf.user_key)
"""

RECOMMENDATIONS_BY_USER_ID = """
CREATE VIEW recommendations_by_user_id AS
SELECT identities.user_id, current.*
FROM identity.users AS identities
JOIN current_recommendations AS current USING (user_key)
"""


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS identity")
    op.execute("CREATE SCHEMA IF NOT EXISTS optuna")
    op.create_table(
        "datasets",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_datasets")),
    )
    op.create_table(
        "users",
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("user_key", name=op.f("pk_users")),
        sa.UniqueConstraint("user_id", name=op.f("uq_users_user_id")),
        schema="identity",
        comment="The one map from raw user ids to pseudonyms.",
    )
    op.create_table(
        "ingest_batches",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("read", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duplicate", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("suppressed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("routed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("consent", sa.Text(), nullable=False),
        sa.Column("quality", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_ingest_batches")),
    )
    op.create_table(
        "items",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("price", sa.Float(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_items")),
    )
    op.create_table(
        "placements",
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_batch_id", sa.BigInteger(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("placement", name=op.f("pk_placements")),
        comment="The batch that readers see: publishing moves this pointer and nothing else.",
    )
    op.create_table(
        "promotions",
        sa.Column("promotion_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("follows", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("promotion_id", name=op.f("pk_promotions")),
        sa.UniqueConstraint("follows", name=op.f("uq_promotions_follows")),
        comment="Each row replaces the champion it `follows` (0: none): a second row after the same one is refused.",
    )
    op.create_table(
        "recommendation_batches",
        sa.Column("batch_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("run_key", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("users", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("recommendations", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_recommendation_batches")),
        sa.UniqueConstraint("placement", "run_key", name=op.f("uq_recommendation_batches_placement")),
    )
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
    op.create_table(
        "reviews",
        sa.Column("review_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("gate", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("review_id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("model_version", name=op.f("uq_reviews_model_version")),
    )
    op.create_table(
        "search_results",
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ndcg_10", sa.Float(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("dataset_version", "model", name=op.f("pk_search_results")),
    )
    op.create_table(
        "aliases",
        sa.Column("anonymous_key", sa.Text(), nullable=False),
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("anonymous_key", name=op.f("pk_aliases")),
        comment="Which device turned out to be whose: data sets join what it did before to the user.",
    )
    op.create_table(
        "suppressions",
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_key", name=op.f("pk_suppressions")),
        comment="Users whose rows are counted and dropped before anything is stored.",
    )
    op.create_table(
        "users",
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.Column("consent_source", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_key", name=op.f("pk_users")),
    )
    op.create_table(
        "ingest_chunks",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("read", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duplicate", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("suppressed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("routed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("profile", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.batch_id"], name=op.f("fk_ingest_chunks_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "chunk", name=op.f("pk_ingest_chunks")),
        comment="Counts of each part of a batch, so that a killed ingest goes on where it stopped.",
    )
    op.create_table(
        "quarantine",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("row_number", sa.BigInteger(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("rule_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.batch_id"], name=op.f("fk_quarantine_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "row_number", name=op.f("pk_quarantine")),
    )
    op.execute(CURRENT_RECOMMENDATIONS)
    op.execute(RECOMMENDATIONS_BY_USER_ID)


def downgrade() -> None:
    op.execute("DROP VIEW recommendations_by_user_id, current_recommendations")
    op.drop_table("quarantine")
    op.drop_table("ingest_chunks")
    op.drop_table("users")
    op.drop_table("suppressions")
    op.drop_table("aliases")
    op.drop_table("search_results")
    op.drop_table("reviews")
    op.drop_table("recommendations")
    op.drop_table("recommendation_batches")
    op.drop_table("promotions")
    op.drop_table("placements")
    op.drop_table("items")
    op.drop_table("ingest_batches")
    op.drop_table("users", schema="identity")
    op.drop_table("datasets")
    op.execute("DROP SCHEMA identity")
    op.execute("DROP SCHEMA optuna CASCADE")
