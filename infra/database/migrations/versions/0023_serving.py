"""Tables of the serving API: keys, the inbox of events, and what live answers need of each batch"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Create the tables, functions and triggers."""
    _api_keys()
    _event_inbox()
    _user_restrictions()
    _change_notifications()


def downgrade() -> None:
    """Drop the tables, functions and triggers."""
    _drop_change_notifications()
    _drop_event_inbox()
    _drop_user_restrictions()
    op.drop_table("api_keys")


def _api_keys() -> None:
    """Create the keys of callers, which are hashed."""
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "secret_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the whole key, which is random.",
        ),
        sa.Column(
            "requests_per_second", sa.REAL(), nullable=True, comment="Empty: the limit in the settings of the API."
        ),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True, comment="Accurate to a minute."),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
        sa.CheckConstraint(
            "scopes <@ ARRAY['read', 'write', 'admin'] AND cardinality(scopes) > 0", name=op.f("ck_api_keys_scopes")
        ),
        comment="Keys of the callers of the API, one row per key. The key itself is stored nowhere.",
    )


def _event_inbox() -> None:
    """Create the inbox of events, updates and impressions, and the session profiles."""
    op.create_table(
        "event_inbox",
        sa.Column("inbox_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_key", sa.Text()),
        sa.Column("session_key", sa.Text()),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("consent", sa.Boolean()),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), comment="SHA-256 of the message's statements; empty for impressions."),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column(
            "batch_id",
            sa.Text(),
            comment="The batch of the ledger that claimed the row, before anything was written.",
        ),
        sa.Column("moved_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("inbox_id", name="pk_event_inbox"),
        sa.UniqueConstraint("source", "message_id", name="uq_event_inbox_source"),
        sa.CheckConstraint("kind IN ('event', 'item', 'user', 'impressions')", name="ck_event_inbox_kind"),
        comment="Messages of applications, with pseudonyms instead of raw ids, until a batch of the ledger moves "
        "them. Moved rows stay for a day, so that a message that comes twice has one effect; impressions are deleted "
        "at once.",
    )
    waiting, claimed = sa.text("batch_id IS NULL"), sa.text("batch_id IS NOT NULL AND moved_at IS NULL")
    columns = ["source", "kind", "inbox_id"]
    op.create_index("ix_event_inbox_waiting", "event_inbox", columns, postgresql_where=waiting)
    op.create_index("ix_event_inbox_claimed", "event_inbox", ["batch_id"], postgresql_where=claimed)
    op.create_index("ix_event_inbox_moved_at", "event_inbox", ["moved_at"])
    _session_profiles()
    for statement in (_REMEMBER_USER, _STATE_CONSENT):
        op.execute(statement)
    for function in (_REMEMBER_USER_NAME, _STATE_CONSENT_NAME):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def _session_profiles() -> None:
    """Create the latest clicks of visitors, and the origins of answers."""
    op.create_table(
        "session_profiles",
        sa.Column(
            "subject",
            sa.Text(),
            primary_key=True,
            comment="The user_key, or the key of a device without a known user.",
        ),
        sa.Column("items", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        comment="The items that a visitor with consent clicked lately, the latest last. Live answers read them.",
    )
    op.create_index("ix_session_profiles_expires_at", "session_profiles", ["expires_at"])
    op.create_table(
        "served_answers",
        sa.Column("recommendation_id", sa.Text(), primary_key=True),
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger()),
        sa.Column("model_version", sa.Integer()),
        sa.Column("variant", sa.Text()),
        sa.Column("propensity", sa.Float()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        comment="The origin of each logged answer. The items and their positions are impressions in the lake.",
    )
    op.create_index("ix_served_answers_shown_at", "served_answers", ["shown_at"])


# A key of before a rotation is left out: the users of a database have keys of one version.
_REMEMBER_USER_NAME = "identity.remember_user(text, text, integer)"
_REMEMBER_USER = """
    CREATE FUNCTION identity.remember_user(user_key text, user_id text, key_version integer) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        INSERT INTO identity.users (user_key, user_id, key_version)
        SELECT $1, $2, $3
        WHERE NOT EXISTS (SELECT FROM public.suppressions AS gone WHERE gone.user_key = $1)
            AND NOT EXISTS (SELECT FROM public.users AS known WHERE known.user_key = $1 AND NOT known.consent)
            AND coalesce((SELECT known.key_version FROM identity.users AS known LIMIT 1), $3) = $3
        ON CONFLICT DO NOTHING
    $$"""
_STATE_CONSENT_NAME = "public.state_consent(text, boolean, timestamptz, text)"
_STATE_CONSENT = """
    CREATE FUNCTION public.state_consent(user_key text, agrees boolean, at timestamptz, origin text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        INSERT INTO public.users AS known
            (user_key, attributes, consent, consent_source, batch_id, consent_at, refused_at)
        SELECT $1, '{}', $2, $4, $4, $3, CASE WHEN NOT $2 THEN $3 END
        WHERE NOT EXISTS (SELECT FROM public.suppressions AS gone WHERE gone.user_key = $1)
        ON CONFLICT ON CONSTRAINT pk_users DO UPDATE SET refused_at = greatest(known.refused_at, excluded.refused_at);
        UPDATE public.users AS known SET consent = $2, consent_source = $4, consent_at = $3,
            attributes = CASE WHEN $2 THEN known.attributes ELSE '{}' END,
            field_timestamps = CASE WHEN $2 THEN known.field_timestamps ELSE '{}' END
        WHERE known.user_key = $1
            AND (known.consent_at IS NULL OR ($3, NOT $2) >= (known.consent_at, NOT known.consent));
        IF NOT $2 THEN
            DELETE FROM public.session_profiles AS profile WHERE profile.subject = $1 AND profile.updated_at <= $3;
        END IF;
    END $$"""


def _drop_event_inbox() -> None:
    """Drop what `_event_inbox` creates."""
    for function in (_REMEMBER_USER_NAME, _STATE_CONSENT_NAME):
        op.execute(f"DROP FUNCTION {function}")
    for table in ("event_inbox", "session_profiles", "served_answers"):
        op.drop_table(table)


def _user_restrictions() -> None:
    """Create the table of the items that a batch hid from each user, or found due."""
    arrays = ("hidden", "due", "clicks")
    op.create_table(
        "batch_users",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.Text(), nullable=False),
        *(sa.Column(name, sa.ARRAY(sa.Integer()), server_default="{}", nullable=False) for name in arrays),
        sa.Column("traits", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "user_key", name=op.f("pk_batch_users")),
        comment="What a batch knew of single users from the lake, as codes of batch_items: hidden and due items, and "
        "the clicks and traits of users newer than the model. The row without a user_key holds the items that were "
        "hidden from everybody.",
        postgresql_partition_by="LIST (batch_id)",
    )
    op.execute(_KNOWN_OF_USER)
    op.execute(
        "COMMENT ON FUNCTION known_of_user IS 'What the live batch knows of one user with consent, for the API.'"
    )
    op.execute("REVOKE ALL ON FUNCTION known_of_user FROM PUBLIC")


# Without a user, or without consent, only the items that are hidden from everybody.
_KNOWN_OF_USER = """
CREATE FUNCTION known_of_user(wanted_placement text, wanted_user text)
RETURNS TABLE (batch_id bigint, user_key text, hidden text[], due text[], clicks text[], traits jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT known.batch_id, known.user_key,
           ARRAY(SELECT item_id FROM unnest(known.hidden) AS code JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code),
           ARRAY(SELECT item_id FROM unnest(known.due) AS code JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code),
           ARRAY(SELECT item_id FROM unnest(known.clicks) AS code JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code),
           known.traits
    FROM placements AS live JOIN batch_users AS known ON known.batch_id = live.batch_id
    WHERE live.placement = wanted_placement
      AND (known.user_key = '' OR (known.user_key = wanted_user
           AND EXISTS (SELECT FROM users AS person WHERE person.user_key = wanted_user AND person.consent)
           AND NOT EXISTS (SELECT FROM suppressions AS gone WHERE gone.user_key = wanted_user)));
END $$
"""


def _drop_user_restrictions() -> None:
    """Drop what `_user_restrictions` creates."""
    op.execute("DROP FUNCTION known_of_user")
    op.drop_table("batch_users")


def _change_notifications() -> None:
    """Create the triggers that notify servers of changes, and the function that reads published lists for them."""
    op.execute(_NOTIFY_USER)
    op.execute(_NOTIFY_TABLE)
    for table, events in _USER_TRIGGERS.items():
        for event, condition in events.items():
            op.execute(
                f"CREATE TRIGGER notify_servers_{event.split()[0].lower()} AFTER {event} ON {table} FOR EACH ROW "
                f"{condition} EXECUTE FUNCTION notify_servers_of_user()"
            )
    for table, any_of in _TABLE_TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER notify_servers AFTER {any_of} ON {table} FOR EACH STATEMENT "
            "EXECUTE FUNCTION notify_servers_of_table()"
        )
    op.execute(_SERVED_LISTS)
    op.execute("COMMENT ON FUNCTION served_lists IS 'Live lists with the consent of their users, for the API.'")
    op.execute("REVOKE ALL ON FUNCTION served_lists FROM PUBLIC")


def _drop_change_notifications() -> None:
    """Drop what `_change_notifications` creates."""
    op.execute("DROP FUNCTION served_lists")
    for table, events in _USER_TRIGGERS.items():
        for event in events:
            op.execute(f"DROP TRIGGER notify_servers_{event.split()[0].lower()} ON {table}")
    for table in _TABLE_TRIGGERS:
        op.execute(f"DROP TRIGGER notify_servers ON {table}")
    op.execute("DROP FUNCTION notify_servers_of_user, notify_servers_of_table")


_CHANGES = "INSERT OR UPDATE OR DELETE OR TRUNCATE"
_TABLE_TRIGGERS = {
    **dict.fromkeys(("items", "placements", "promotions", "session_profiles"), _CHANGES),
    # Not of `last_used_at`, which servers write themselves.
    "api_keys": "INSERT OR UPDATE OF secret_hash, scopes, requests_per_second, expires_at, revoked_at OR DELETE",
    "event_inbox": "INSERT",
}

_USER_TRIGGERS = {
    "users": {
        "UPDATE OF consent": "WHEN (OLD.consent IS DISTINCT FROM NEW.consent)",
        "DELETE": "",
    },
    "suppressions": {"INSERT": "", "UPDATE": "", "DELETE": ""},
    "exclusions": {"INSERT": "", "UPDATE": "", "DELETE": ""},
}

# PostgreSQL delivers equal notifications of one transaction once.
_NOTIFY_TABLE = """
CREATE FUNCTION notify_servers_of_table() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tailorbird_changes', TG_TABLE_NAME);
    RETURN NULL;
END $$
"""

_NOTIFY_USER = """
CREATE FUNCTION notify_servers_of_user() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('tailorbird_changes', 'user ' || OLD.user_key);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('tailorbird_changes', 'user ' || NEW.user_key);
    END IF;
    RETURN NULL;
END $$
"""

# The plan is kept per session: planning over all batches would take longer than reading. The lists of users are joined
# after their consent is known.
_SERVED_LISTS = """
CREATE FUNCTION served_lists(wanted_placements text[], wanted_subjects text[])
RETURNS TABLE (
    nth bigint, consent boolean, suppressed boolean, excluded text[], batch_id bigint, model_version integer,
    items integer[], scores real[], reasons integer[], read_at double precision
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT wanted.nth, person.consent, gone.user_key IS NOT NULL,
           ARRAY(SELECT kind || ':' || value FROM exclusions WHERE exclusions.user_key = wanted.subject),
           live.batch_id, batch.model_version, list.items, list.scores, list.reasons,
           extract(epoch FROM statement_timestamp())::double precision
    FROM unnest(wanted_placements, wanted_subjects) WITH ORDINALITY AS wanted (placement, subject, nth)
    LEFT JOIN users AS person ON person.user_key = wanted.subject
    LEFT JOIN suppressions AS gone ON gone.user_key = wanted.subject
    LEFT JOIN placements AS live ON live.placement = wanted.placement
    LEFT JOIN recommendation_batches AS batch ON batch.batch_id = live.batch_id
    LEFT JOIN recommendations AS list ON list.batch_id = live.batch_id AND list.subject = wanted.subject
         AND (batch.subject_kind = 'item' OR (person.consent AND gone.user_key IS NULL));
END $$
"""
