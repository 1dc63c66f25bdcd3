"""Streams score live lists again: the users who wait for it, and the lists, which views and the API show"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0029"


def upgrade() -> None:
    """Create the tables, and show live lists in place of those of batches."""
    _requests()
    _lists()
    _allow_kinds(*_KINDS, "score")
    for name in ("current_recommendations", "recommendations_by_user_id"):
        op.execute(f"CREATE OR REPLACE VIEW {name} WITH (security_barrier = true) AS {_VIEWS[name]}")
    _served_lists(_LIVE)
    op.execute(_KEEP)
    op.execute(f"COMMENT ON FUNCTION keep_live_lists IS '{_KEEP_COMMENT}'")
    op.execute("REVOKE ALL ON FUNCTION keep_live_lists FROM PUBLIC")


def downgrade() -> None:
    """Show the lists of batches again, and drop the tables."""
    op.execute("DROP FUNCTION keep_live_lists")
    op.execute("DROP VIEW recommendations_by_user_id, current_recommendations")
    for name, query in _BATCH_VIEWS.items():
        op.execute(f"CREATE VIEW {name} WITH (security_barrier = true) AS {query}")
    _served_lists(_BATCHES)
    for table in ("users", "suppressions"):
        op.execute(f"DROP TRIGGER forget_live_lists ON {table}")
    op.execute("DROP TRIGGER forget_live_lists_of_deleted ON users")
    op.execute("DELETE FROM event_inbox WHERE kind = 'score'")
    _allow_kinds(*_KINDS)
    op.drop_table("live_recommendations")
    op.drop_table("rescoring_requests")
    op.execute("DROP FUNCTION forget_live_lists")


def _requests() -> None:
    op.create_table(
        "rescoring_requests",
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column(
            "occurred_at",
            sa.DateTime(timezone=True),
            comment="The time of the newest event that the lists are to follow.",
        ),
        sa.Column(
            "version", sa.Integer(), server_default="1", nullable=False, comment="Grows with each event of the user."
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
            comment="When a consumer may take it.",
        ),
        sa.Column(
            "bulk",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="Of a segment: events of users come first.",
        ),
        sa.PrimaryKeyConstraint("user_key", name="pk_rescoring_requests"),
        comment="Users whose live lists consumers have to score again, one row each. It commits with the user's "
        "events.",
    )
    op.create_index("ix_rescoring_requests_due_at", "rescoring_requests", ["bulk", "due_at"])


def _lists() -> None:
    op.create_table(
        "live_recommendations",
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("user_key", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False, comment="The batch in whose place the list is shown."),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("rules_version", sa.Integer(), nullable=False),
        sa.Column("items", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("scores", sa.ARRAY(sa.REAL()), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "occurred_at", sa.DateTime(timezone=True), comment="The time of the newest event that the list follows."
        ),
        sa.Column("scored_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("placement", "user_key", name="pk_live_recommendations"),
        comment="Lists of placements with live = true, scored again after an event. A list counts while its batch, the "
        "champion and the version of operators' rules are the present ones, and until it expires.",
    )
    op.create_index("ix_live_recommendations_expires_at", "live_recommendations", ["expires_at"])
    for event in ("INSERT", "UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER notify_servers_{event.lower()} AFTER {event} ON live_recommendations FOR EACH ROW "
            "EXECUTE FUNCTION notify_servers_of_user()"
        )
    op.execute(_FORGET)
    for trigger in _FORGETTING:
        op.execute(f"CREATE TRIGGER {trigger} EXECUTE FUNCTION forget_live_lists()")


def _allow_kinds(*kinds: str) -> None:
    """Allow these kinds of messages in the inbox."""
    op.drop_constraint(op.f("ck_event_inbox_kind"), "event_inbox")
    allowed = ", ".join(f"'{kind}'" for kind in kinds)
    op.create_check_constraint(op.f("ck_event_inbox_kind"), "event_inbox", f"kind IN ({allowed})")


def _served_lists(live: tuple[str, str, str]) -> None:
    """Create the function that reads lists for the API: its columns, their values and their table change."""
    op.execute("DROP FUNCTION served_lists")
    columns, values, join = live
    op.execute(_SERVED_LISTS.format(columns=columns, values=values, join=join))
    op.execute("COMMENT ON FUNCTION served_lists IS 'Live lists with the consent of their users, for the API.'")
    op.execute("REVOKE ALL ON FUNCTION served_lists FROM PUBLIC")


_KINDS = "event", "item", "user", "impressions", "call", "answers"
# Whatever ends a consent: a statement, an ingest, an erasure.
_FORGET = """
CREATE FUNCTION forget_live_lists() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE gone text := CASE WHEN TG_OP = 'DELETE' THEN OLD.user_key ELSE NEW.user_key END;
BEGIN
    DELETE FROM live_recommendations WHERE user_key = gone;
    DELETE FROM rescoring_requests WHERE user_key = gone;
    RETURN NULL;
END $$
"""
_FORGETTING = (
    "forget_live_lists AFTER UPDATE OF consent ON users FOR EACH ROW WHEN (OLD.consent AND NOT NEW.consent)",
    "forget_live_lists_of_deleted AFTER DELETE ON users FOR EACH ROW",
    "forget_live_lists AFTER INSERT ON suppressions FOR EACH ROW",
)
_COUNTS = """live.expires_at > now()
  AND live.model_version = (SELECT champion.model_version FROM promotions AS champion
                            ORDER BY champion.promotion_id DESC LIMIT 1)
  AND live.rules_version = (SELECT coalesce(max(rules.version), 0) FROM operator_rules AS rules)"""
_COLUMNS = """entry.rank::int AS rank, list_item.item_id, item.title, item.category, item.brand, item.price,
       item.currency, entry.score, list_reason.reason, batch.model_version, batch.batch_id, item.url, item.image"""
_LISTS = """
FROM placements AS placement
JOIN recommendation_batches AS batch ON batch.batch_id = placement.batch_id
JOIN recommendations AS list ON list.batch_id = placement.batch_id
"""
_ENTRIES = """
CROSS JOIN LATERAL unnest(list.items, list.scores, list.reasons) WITH ORDINALITY AS entry (code, score, why, rank)
JOIN batch_items AS list_item ON list_item.batch_id = placement.batch_id AND list_item.item_code = entry.code
LEFT JOIN batch_reasons AS list_reason
     ON list_reason.batch_id = placement.batch_id AND list_reason.reason_code = entry.why
LEFT JOIN items AS item ON item.item_id = list_item.item_id
"""
_CONSENT = "JOIN users ON users.user_key = list.subject AND users.consent"
_USERS = """
WHERE batch.subject_kind = 'user'
  AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = list.subject)
"""
_SOLD = """
  AND item.in_stock IS NOT FALSE
  AND (item.available_from IS NULL OR item.available_from <= now())
  AND (item.available_until IS NULL OR item.available_until > now())
"""
_LIVE_COLUMNS = """entry.rank::int AS rank, entry.item_id, item.title, item.category, item.brand, item.price,
       item.currency, entry.score, entry.reason, live.model_version, live.batch_id, item.url, item.image,
       'live' AS source"""
_LIVE_LISTS = """
FROM placements AS placement
JOIN live_recommendations AS live ON live.placement = placement.placement AND live.batch_id = placement.batch_id
JOIN users ON users.user_key = live.user_key AND users.consent
"""
_NO_LIVE_LIST = f"""
  AND NOT EXISTS (SELECT FROM live_recommendations AS live WHERE live.placement = placement.placement
                  AND live.user_key = list.subject AND live.batch_id = placement.batch_id AND {_COUNTS})
"""
_LIVE_ENTRIES = f"""
CROSS JOIN LATERAL unnest(live.items, live.scores, live.reasons) WITH ORDINALITY
     AS entry (item_id, score, reason, rank)
LEFT JOIN items AS item ON item.item_id = entry.item_id
WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = live.user_key) AND {_COUNTS}
"""
# A union as the whole query of a view would let conditions of readers see hidden rows, in spite of its barrier.
_VIEWS = {
    "current_recommendations": f"""
SELECT * FROM (
SELECT placement.placement, list.subject AS user_key, {_COLUMNS}, 'batch' AS source
{_LISTS} {_CONSENT} {_ENTRIES} {_USERS} {_SOLD} {_NO_LIVE_LIST}
UNION ALL
SELECT live.placement, live.user_key, {_LIVE_COLUMNS}
{_LIVE_LISTS} {_LIVE_ENTRIES} {_SOLD}) AS lists
""",
    "recommendations_by_user_id": f"""
SELECT * FROM (
SELECT identities.user_id, placement.placement, list.subject AS user_key, {_COLUMNS}, 'batch' AS source
{_LISTS} JOIN identity.users AS identities ON identities.user_key = list.subject {_CONSENT} {_ENTRIES} {_USERS} {_SOLD}
{_NO_LIVE_LIST}
UNION ALL
SELECT identities.user_id, live.placement, live.user_key, {_LIVE_COLUMNS}
{_LIVE_LISTS} JOIN identity.users AS identities ON identities.user_key = live.user_key {_LIVE_ENTRIES} {_SOLD}
) AS lists
""",
}
_BATCH_VIEWS = {
    "current_recommendations": f"""
SELECT placement.placement, list.subject AS user_key, {_COLUMNS}
{_LISTS} {_CONSENT} {_ENTRIES} {_USERS} {_SOLD}
""",
    "recommendations_by_user_id": f"""
SELECT identities.user_id, placement.placement, list.subject AS user_key, {_COLUMNS}
{_LISTS} JOIN identity.users AS identities ON identities.user_key = list.subject {_CONSENT} {_ENTRIES} {_USERS} {_SOLD}
""",
}

_NEWER = _COUNTS.replace("live.", "newer.")
_LIVE = (
    ", live_items text[], live_scores real[], live_reasons text[], live_model_version integer",
    ", newer.items, newer.scores, newer.reasons, newer.model_version",
    f"""
    LEFT JOIN live_recommendations AS newer ON newer.placement = wanted.placement AND newer.user_key = wanted.subject
         AND newer.batch_id = live.batch_id AND person.consent AND gone.user_key IS NULL AND {_NEWER}""",
)
_BATCHES = "", "", ""
# As in 0023, which says why.
_SERVED_LISTS = """
CREATE FUNCTION served_lists(wanted_placements text[], wanted_subjects text[])
RETURNS TABLE (
    nth bigint, consent boolean, suppressed boolean, excluded text[], batch_id bigint, model_version integer,
    items integer[], scores real[], reasons integer[], read_at double precision{columns}
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT wanted.nth, person.consent, gone.user_key IS NOT NULL,
           ARRAY(SELECT kind || ':' || value FROM exclusions WHERE exclusions.user_key = wanted.subject),
           live.batch_id, batch.model_version, list.items, list.scores, list.reasons,
           extract(epoch FROM statement_timestamp())::double precision{values}
    FROM unnest(wanted_placements, wanted_subjects) WITH ORDINALITY AS wanted (placement, subject, nth)
    LEFT JOIN users AS person ON person.user_key = wanted.subject
    LEFT JOIN suppressions AS gone ON gone.user_key = wanted.subject
    LEFT JOIN placements AS live ON live.placement = wanted.placement
    LEFT JOIN recommendation_batches AS batch ON batch.batch_id = live.batch_id
    LEFT JOIN recommendations AS list ON list.batch_id = live.batch_id AND list.subject = wanted.subject
         AND (batch.subject_kind = 'item' OR (person.consent AND gone.user_key IS NULL)){join};
END $$
"""
_KEEP_COMMENT = (
    "Stores live lists of users who consent, unless a newer event was followed; returns the raw ids of users."
)
# The users in one order, so that two consumers cannot block each other.
_KEEP = """
CREATE FUNCTION keep_live_lists(lists jsonb) RETURNS TABLE (placement text, user_key text, user_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH kept AS (
        INSERT INTO live_recommendations AS known (placement, user_key, batch_id, model_version, rules_version, items,
            scores, reasons, occurred_at, expires_at)
        SELECT given.placement, given.user_key, given.batch_id, given.model_version, given.rules_version, given.items,
            given.scores, given.reasons, given.occurred_at, given.expires_at
        FROM jsonb_to_recordset(lists) AS given (placement text, user_key text, batch_id bigint, model_version integer,
            rules_version integer, items text[], scores real[], reasons text[], occurred_at timestamptz,
            expires_at timestamptz)
        JOIN users AS person ON person.user_key = given.user_key AND person.consent
        WHERE NOT EXISTS (SELECT FROM suppressions AS gone WHERE gone.user_key = given.user_key)
        ORDER BY given.user_key, given.placement
        ON CONFLICT (placement, user_key) DO UPDATE SET batch_id = excluded.batch_id,
            model_version = excluded.model_version, rules_version = excluded.rules_version, items = excluded.items,
            scores = excluded.scores, reasons = excluded.reasons, occurred_at = excluded.occurred_at,
            scored_at = now(), expires_at = excluded.expires_at
        WHERE known.occurred_at <= excluded.occurred_at
        RETURNING known.placement, known.user_key)
    SELECT kept.placement, kept.user_key, person.user_id FROM kept
    LEFT JOIN identity.users AS person ON person.user_key = kept.user_key;
END $$
"""
