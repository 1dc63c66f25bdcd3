"""The Postgres schema as SQLAlchemy Core tables. `infra.database.engine` makes them, and what is in `sql`."""

from typing import Final

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.columns import LEDGER as LEDGER

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


TODAY: Final = text("(now() AT TIME ZONE 'UTC')::date")


def moment(name: str, *, now: bool = False, comment: str | None = None) -> Column[object]:
    """Return a column for a point in time; its default is none, or with `now` the time of the insert."""
    default = func.now() if now else None
    return Column(name, DateTime(timezone=True), nullable=not now, server_default=default, comment=comment)


def _field_timestamps() -> Column[object]:
    """Return the column with the time of each field's value."""
    return Column("field_timestamps", JSONB, nullable=False, server_default="{}")


identities = Table(
    "users",
    metadata,
    Column("user_key", Text, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
    Column("key_version", Integer, nullable=False),
    schema="identity",
    comment="The one map from raw user ids to pseudonyms.",
)

_MERCHANDISE = "Whether the item is merchandise; false for fees, deposits and the like. Stock is in in_stock."
PAID: Final = "The median price of a piece in the purchases of the newest data set."
_STOCK = "Whether it is in stock (the mapping's key available). Empty means unknown, which counts as true."

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    *(Column(name, Text) for name in ("title", "category", "brand")),
    Column("price", Float),
    Column("currency", Text),
    Column("attributes", JSONB, nullable=False),
    Column("available", Boolean, nullable=False, comment=_MERCHANDISE),
    Column("batch_id", Text, nullable=False),
    _field_timestamps(),
    *(Column(name, Text) for name in ("url", "image")),
    Column("in_stock", Boolean, comment=_STOCK),
    moment("available_from", comment="When the sale begins; empty if it has no beginning."),
    moment("available_until", comment="When the sale ends; empty if it has no end."),
    Column("price_paid", Float, comment=PAID),
    Column("currency_paid", Text),
)

users = Table(
    "users",
    metadata,
    Column("user_key", Text, primary_key=True),
    Column("attributes", JSONB, nullable=False),
    Column("consent", Boolean, nullable=False),
    Column("consent_source", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    _field_timestamps(),
    moment("consent_at"),
    moment("refused_at"),
    Column("first_seen_on", Date, nullable=False, server_default=TODAY, comment="The day in UTC."),
    Column("erased_at", DateTime(timezone=True), comment="Nothing from before this moment is accepted again."),
    Index("ix_users_erased_at", "erased_at", postgresql_where=text("erased_at IS NOT NULL")),
)


def _history(name: str, key: str) -> Table:
    """Return the table with earlier values of an item or a user, each with the time since which it counts."""
    return Table(
        name,
        metadata,
        Column(key, Text, primary_key=True),
        Column("name", Text, primary_key=True),
        Column("since", DateTime(timezone=True), primary_key=True),
        Column("value", Text),
        comment="Values that changed: each counts from `since` on, until the next one. A value without a row here has "
        "never changed since it was first known.",
    )


item_history = _history("item_history", "item_id")
user_history = _history("user_history", "user_key")

CLAIMED: Final = "Whether only a page states that it is this user's, without a signature of the shop's server."

item_appearances = Table(
    "item_appearances",
    metadata,
    Column("item_id", Text, primary_key=True),
    moment("first_seen_at", now=True),
    comment="When a catalogue or an event first named an item.",
)

aliases = Table(
    "aliases",
    metadata,
    Column("anonymous_key", Text, primary_key=True),
    Column("user_key", Text, primary_key=True),
    moment("occurred_at"),
    Column("batch_id", Text, nullable=False),
    Column("claimed", Boolean, nullable=False, server_default="false", comment=CLAIMED),
    comment="The user of each device: the latest row that is no claim, else the claim. Data sets add a device's events "
    "to its user.",
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("user_key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    moment("since", now=True),
    comment="Users whose rows are counted and dropped before anything is stored.",
)

OBJECTION: Final = "placement"
"""The kind of an exclusion of all personal lists of a placement."""
exclusions = Table(
    "exclusions",
    metadata,
    Column("user_key", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    moment("since", now=True),
    CheckConstraint("kind IN ('item', 'brand', 'category', 'placement')", name="ck_exclusions_kind"),
    comment="What single users must not be shown: an item, a brand, a category with everything below it, or any "
    "personal list of a placement.",
)


def _counts(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, server_default="0") for name in names]


_REFUND_ORDER: Final = "Whether refunds of the batch take back only purchases of the order that they name."

ingest_batches = Table(
    "ingest_batches",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("status", Text, nullable=False),
    *_counts(*LEDGER),
    Column("consent", Text, nullable=False),
    Column("quality", JSONB),
    Column("detail", Text),
    moment("started_at", now=True),
    moment("finished_at"),
    moment("late_before"),
    *_counts("late", "deleted"),  # deleted: events that an erasure or the end of their period deleted since
    Column("request", JSONB, nullable=False, server_default="{}"),
    Column("refund_order", Boolean, nullable=False, server_default="false", comment=_REFUND_ORDER),
)

ingest_updates = Table(
    "ingest_updates",
    metadata,
    Column("batch_id", ForeignKey("ingest_batches.batch_id"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("payload", JSONB, nullable=False),
    _field_timestamps(),
    moment("observed_at"),
    comment="What a batch states of items, users and devices until it is committed. Then the values are applied.",
)

ingest_chunks = Table(
    "ingest_chunks",
    metadata,
    Column("batch_id", ForeignKey("ingest_batches.batch_id"), primary_key=True),
    Column("chunk", Integer, primary_key=True),
    *_counts(*LEDGER),
    Column("profile", JSONB, nullable=False),
    comment="Counts of each part of a batch, so that a killed ingest goes on where it stopped.",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("batch_id", ForeignKey("ingest_batches.batch_id"), primary_key=True),
    Column("row_number", BigInteger, primary_key=True),
    Column("chunk", Integer, nullable=False),
    Column("rule_ids", ARRAY(Text), nullable=False),
    Column("payload", JSONB, nullable=False),
    moment("first_seen", now=True),
    moment("replayed_at"),
    Column("content", LargeBinary),
    Column("subject", LargeBinary),
    Column("resolved_by", Text),
    Column("outcome", Text),
    Index("ix_quarantine_content", "content"),
    Index("ix_quarantine_resolved_by", "resolved_by", postgresql_where=text("resolved_by IS NOT NULL")),
    Index("ix_quarantine_dismissed", "subject", postgresql_where=text("outcome = 'dismissed'")),
    Index("ix_quarantine_subject", "subject", postgresql_where=text("replayed_at IS NULL")),
    comment="Rows that broke a rule. `content` identifies what a row of a source states and the rules it broke, "
    "`subject` its event, item or user. A row with `replayed_at` no longer waits: its `outcome` is replayed, "
    "resolved (`resolved_by` a batch) or dismissed.",
)

datasets = Table(
    "datasets",
    metadata,
    Column("version", Text, primary_key=True),
    Column("manifest", JSONB, nullable=False),
    moment("created_at", now=True),
)

segments = Table(
    "segments",
    metadata,
    Column("dataset_version", Text, primary_key=True),
    Column("user_key", Text, primary_key=True),
    Column("rfm", Text, nullable=False),
    Column("demographic", Text, nullable=False),
    comment="The static segments of each data set: a baseline for personalization, and the lists of new users.",
)

segment_descriptions = Table(
    "segment_descriptions",
    metadata,
    Column("dataset_version", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("segment", Text, primary_key=True),
    Column("users", BigInteger, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("typical", Text, nullable=False),
)

search_results = Table(
    "search_results",
    metadata,
    Column("dataset_version", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("study", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("ndcg_10", Float, nullable=False),
    Column("trials", Integer, nullable=False),
    Column("run_id", Text),
    moment("finished_at", now=True),
    Column("drift", Float),
)

DEADLINE: Final = "deadline"
"""The `via` of a review that was rejected because its time ran out."""

reviews = Table(
    "reviews",
    metadata,
    Column("review_id", BigInteger, Identity(), primary_key=True),
    Column("dataset_version", Text, nullable=False),
    Column("model_version", Integer, nullable=False, unique=True),
    Column("run_id", Text),
    Column("digest", Text),
    Column("passed", Boolean, nullable=False),
    Column("gate", JSONB, nullable=False),
    Column("groups", JSONB, nullable=False, server_default="[]"),
    Column("reference_promotion_id", BigInteger, nullable=False, server_default="0"),
    moment("requested_at", now=True),
    moment("expires_at"),
    Column("decision", Text),
    Column("reviewer", Text),
    Column("reason", Text),
    Column("via", Text),
    Column("overridden", Boolean, nullable=False, server_default="false"),
    moment("decided_at"),
    comment="`reference_promotion_id` is the promotion that the gate compared with (0: none). Only this champion is "
    "replaced.",
)

promotions = Table(
    "promotions",
    metadata,
    Column("promotion_id", BigInteger, Identity(), primary_key=True),
    Column("previous_promotion_id", BigInteger, nullable=False, unique=True),
    Column("model_version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("dataset_version", Text, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("run_id", Text),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("via", Text, nullable=False, server_default="command"),
    Column("gate", JSONB, nullable=False, server_default="[]"),
    Column("overridden", Boolean, nullable=False, server_default="false"),
    Column("restored_promotion_id", BigInteger),
    moment("promoted_at", now=True),
    moment("alias_synced_at"),
    comment="Each row replaces the champion `previous_promotion_id` (0: none). A second row with the same one is "
    "refused. A rollback names the row it returned to in `restored_promotion_id`. MLflow's alias followed at "
    "`alias_synced_at`.",
)

_RULES: Final = "The rules of operators that counted when the lists were made."

recommendation_batches = Table(
    "recommendation_batches",
    metadata,
    Column("batch_id", BigInteger, Identity(), primary_key=True),
    Column("placement", Text, nullable=False),
    Column("subject_kind", Text, nullable=False, server_default="user"),
    Column("run_key", Text, nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("dataset_version", Text, nullable=False),
    Column("k", Integer, nullable=False, server_default="20"),
    Column("status", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("users", BigInteger, nullable=False, server_default="0"),
    Column("recommendations", BigInteger, nullable=False, server_default="0"),
    Column("summary", JSONB, nullable=False, server_default="{}"),
    Column("detail", Text),
    moment("created_at", now=True),
    moment("published_at"),
    Column("rules_version", Integer, nullable=False, server_default="0"),
    Column("operator_rules", JSONB, nullable=False, server_default="{}", comment=_RULES),
    UniqueConstraint("placement", "run_key"),
)

recommendations = Table(
    "recommendations",
    metadata,
    Column("batch_id", BigInteger, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("items", ARRAY(Integer), nullable=False),
    Column("scores", ARRAY(REAL), nullable=False),
    Column("reasons", ARRAY(Integer), nullable=False),
    Column("shortfall_reason", Text),
    postgresql_partition_by="LIST (batch_id)",
    comment="One list per batch and user_key (or item_id, in placements about items), as codes of batch_items and "
    "batch_reasons. The views current_recommendations and current_item_recommendations give one row per rank.",
)


def _words(name: str, code: str, word: str) -> Table:
    """Return the table of the texts that the codes in a batch's lists stand for."""
    return Table(
        name,
        metadata,
        Column("batch_id", BigInteger, primary_key=True),
        Column(code, Integer, primary_key=True),
        Column(word, Text, nullable=False),
        postgresql_partition_by="LIST (batch_id)",
    )


batch_items = _words("batch_items", "item_code", "item_id")
batch_reasons = _words("batch_reasons", "reason_code", "reason")

placements = Table(
    "placements",
    metadata,
    Column("placement", Text, primary_key=True),
    Column("batch_id", BigInteger, nullable=False),
    Column("previous_batch_id", BigInteger),
    moment("published_at", now=True),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("moved_by", Text),
    moment("checked_at", now=True),
    comment="The batch that readers see. Publishing changes this pointer and nothing else.",
)
