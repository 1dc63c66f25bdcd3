"""The tables of the serving API, of consumers of streams, and of operators' rules."""

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import CLAIMED, metadata, moment

EARLIER_KEY = (
    "The key that the device's id has as the id of a user, and had before devices got keys of their own. It finds "
    "events that come again, and earlier ids of users."
)
AUTHORITY = (
    "Who states the user: server (a server's key), signed (a page, with the server's signature), claim (a page without "
    "it), or page (a page that names none)."
)
event_inbox = Table(
    "event_inbox",
    metadata,
    Column("inbox_id", BigInteger, Identity(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("user_key", Text),
    Column("session_key", Text),
    Column("earlier_key", Text, comment=EARLIER_KEY),
    Column("key_version", Integer, nullable=False),
    Column("authority", Text, nullable=False, server_default="server", comment=AUTHORITY),
    Column("consent", Boolean),
    Column("payload", JSONB, nullable=False),
    Column("digest", LargeBinary, comment="SHA-256 of the message's statements; empty for impressions."),
    moment("received_at", now=True),
    Column("batch_id", Text, comment="The batch of the ledger that claimed the row, before anything was written."),
    moment("moved_at"),
    Column("outcome", Text),
    Column(
        "messages",
        Integer,
        Computed(
            "CASE WHEN kind = 'answers' THEN coalesce(jsonb_array_length(payload -> 'recommendation_id'), 0) "
            "ELSE 1 END",
            persisted=True,
        ),
        nullable=False,
        comment="How many messages the row counts as: each answer that was shown is one.",
    ),
    UniqueConstraint("source", "message_id"),
    CheckConstraint(
        "kind IN ('event', 'item', 'user', 'impressions', 'call', 'answers', 'score')", name="ck_event_inbox_kind"
    ),
    CheckConstraint("authority IN ('server', 'signed', 'page', 'claim')", name="ck_event_inbox_authority"),
    Index("ix_event_inbox_waiting", "source", "kind", "inbox_id", postgresql_where=text("batch_id IS NULL")),
    Index("ix_event_inbox_claimed", "batch_id", postgresql_where=text("batch_id IS NOT NULL AND moved_at IS NULL")),
    Index("ix_event_inbox_moved_at", "moved_at", postgresql_where=text("moved_at IS NOT NULL")),
    comment="Messages of applications, with pseudonyms instead of raw ids, until a batch of the ledger moves them. "
    "Moved rows stay for a day, so that a message that comes twice has one effect; answers that were shown are "
    "deleted at once.",
)

session_profiles = Table(
    "session_profiles",
    metadata,
    Column("subject", Text, primary_key=True, comment="The user_key, or the key of a device without a known user."),
    Column("claimed", Boolean, primary_key=True, server_default="false", comment=CLAIMED),
    Column("items", ARRAY(Text), nullable=False),
    Column(
        "occurred_at",
        ARRAY(DateTime(timezone=True)),
        nullable=False,
        server_default="{}",
        comment="The time of each item; items without one are as old as the last change.",
    ),
    Column("kinds", ARRAY(Text), nullable=False, server_default="{}", comment="The type of the event on each item."),
    moment("updated_at", now=True),
    moment("expires_at", now=True),
    Index("ix_session_profiles_expires_at", "expires_at"),
    comment="The items that a visitor with consent clicked lately, the latest last. Live answers read them.",
)

served_answers = Table(
    "served_answers",
    metadata,
    Column("recommendation_id", Text, primary_key=True),
    Column("placement", Text, nullable=False),
    Column("batch_id", BigInteger),
    Column("model_version", Integer),
    Column("variant", Text),
    Column("propensity", Float),
    Column("source", Text, nullable=False),
    moment("shown_at", now=True),
    Index("ix_served_answers_shown_at", "shown_at"),
    comment="The origin of each logged answer. The items and their positions are impressions in the lake.",
)

answer_counts = Table(
    "answer_counts",
    metadata,
    Column("since", DateTime(timezone=True), primary_key=True, comment="When the five minutes began."),
    Column("placement", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("answers", BigInteger, nullable=False),
    comment="How many answers were shown in each five minutes of the last two days, by placement and source. A trigger "
    "of served_answers counts each one once.",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("kind", Text, nullable=False, comment="page: everybody can read the key. server: only its holder."),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of the whole key, which is random."),
    Column("requests_per_second", REAL, comment="Empty: the limit in the settings of the API."),
    Column("created_by", Text, nullable=False),
    moment("created_at", now=True),
    moment("last_used_at", comment="Accurate to a minute."),
    moment("expires_at"),
    moment("revoked_at"),
    Column("revoked_by", Text),
    CheckConstraint(
        "scopes <@ ARRAY['read', 'write', 'privacy', 'admin', 'collect'] AND cardinality(scopes) > 0",
        name="ck_api_keys_scopes",
    ),
    CheckConstraint("kind = 'server' OR kind = 'page' AND scopes = ARRAY['collect']", name="ck_api_keys_kind"),
    comment="Keys of the callers of the API, one row per key. The key itself is stored nowhere.",
)

key_usage = Table(
    "key_usage",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("day", Date, primary_key=True, comment="In UTC."),
    Column("calls", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    comment="What pages sent with each key, of all processes together. A spent quota keeps new visitors out.",
)


def _codes(name: str) -> Column[list[int]]:
    """Return a column of item codes."""
    return Column(name, ARRAY(Integer), nullable=False, server_default="{}")


batch_users = Table(
    "batch_users",
    metadata,
    Column("batch_id", BigInteger, primary_key=True),
    Column("user_key", Text, primary_key=True),
    _codes("hidden"),
    _codes("due"),
    _codes("clicks"),
    Column("traits", JSONB),
    postgresql_partition_by="LIST (batch_id)",
    comment="What a batch knew of single users from the lake, as codes of batch_items: hidden and due items, and "
    "the clicks and traits of users newer than the model. The row without a user_key holds the items that were "
    "hidden from everybody.",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("letter_id", BigInteger, Identity(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False, comment="What is wrong, in a sentence without values."),
    Column("message_id", Text, comment="The broker's own id of the message, if it had one."),
    Column("encoding", Text, nullable=False, server_default=""),
    Column("body", LargeBinary, nullable=False, comment="What the sender wrote, with raw ids."),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the broker's id and the body."),
    Column("times", Integer, nullable=False, server_default="1", comment="How often it was delivered."),
    moment("first_at", now=True),
    moment("last_at", now=True),
    moment("replayed_at", comment="When it was stored after all."),
    UniqueConstraint("source", "reason", "digest"),
    CheckConstraint(
        "reason IN ('malformed', 'too_large', 'id_conflict', 'poison', 'broker')", name="ck_dead_letters_reason"
    ),
    schema="identity",
    comment="Messages of brokers that could not be stored, as their senders wrote them.",
)

streams = Table(
    "streams",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("lag", BigInteger, nullable=False, comment="Messages that wait in the broker."),
    moment("seen_at", now=True),
    comment="Queues that consumers read, as the last consumer saw them.",
)

rescoring_requests = Table(
    "rescoring_requests",
    metadata,
    Column("user_key", Text, primary_key=True),
    moment("occurred_at", comment="The time of the newest event that the lists are to follow."),
    Column("version", Integer, nullable=False, server_default="1", comment="Grows with each event of the user."),
    Column("attempts", Integer, nullable=False, server_default="0"),
    moment("due_at", now=True, comment="When a consumer may take it."),
    Column(
        "bulk", Boolean, nullable=False, server_default="false", comment="Of a segment: events of users come first."
    ),
    Index("ix_rescoring_requests_due_at", "bulk", "due_at"),
    comment="Users whose live lists consumers have to score again, one row each. It commits with the user's events.",
)

live_recommendations = Table(
    "live_recommendations",
    metadata,
    Column("placement", Text, primary_key=True),
    Column("user_key", Text, primary_key=True),
    Column("batch_id", BigInteger, nullable=False, comment="The batch in whose place the list is shown."),
    Column("model_version", Integer, nullable=False),
    Column("rules_version", Integer, nullable=False),
    Column("items", ARRAY(Text), nullable=False),
    Column("scores", ARRAY(REAL), nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    moment("occurred_at", comment="The time of the newest event that the list follows."),
    moment("scored_at", now=True),
    moment("expires_at"),
    Index("ix_live_recommendations_expires_at", "expires_at"),
    comment="Lists of placements with live = true, scored again after an event. A list counts while its batch, the "
    "champion and the version of operators' rules are the present ones, and until it expires.",
)

stream_offsets = Table(
    "stream_offsets",
    metadata,
    Column("source", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False, comment="All messages before it are stored."),
    moment("stored_at", now=True),
    comment="How far the topics of Kafka are stored. The broker's own offsets follow.",
)

operator_rules = Table(
    "operator_rules",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rules", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("key_id", Text, nullable=False, comment="The API key that stored the version."),
    Column("restores", Integer, comment="The version that an undo made current again."),
    moment("created_at", now=True),
    CheckConstraint("version > 0", name="ck_operator_rules_version"),
    comment="Pins, hidden items and boosts of operators, a layer over the placements file. Each row is a whole layer; "
    "the highest version counts. Rows are only added.",
)
