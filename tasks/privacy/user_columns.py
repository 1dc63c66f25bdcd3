"""Names the columns of the database that hold keys of users: a rotation re-keys them, an erasure deletes by them."""

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from tasks.scoring.partitions import existing, partition_name


class KeyColumn(NamedTuple):
    """A column with user keys, in all rows or in those of a condition."""

    table: str
    column: str
    where: str = "true"


# A message of a process that still has an earlier key; its batch re-keys it.
PRESENT: Final = "key_version = (SELECT max(key_version) FROM identity.users)"
COLUMNS: Final = (
    KeyColumn("identity.users", "user_key"),
    KeyColumn("users", "user_key"),
    KeyColumn("user_history", "user_key"),
    KeyColumn("aliases", "anonymous_key"),
    KeyColumn("aliases", "user_key"),
    KeyColumn("suppressions", "user_key"),
    KeyColumn("identity.privacy_subjects", "user_key"),
    KeyColumn("identity.privacy_files", "user_key"),
    KeyColumn("exclusions", "user_key"),
    KeyColumn("segments", "user_key"),
    KeyColumn("session_profiles", "subject"),
    KeyColumn("rescoring_requests", "user_key"),
    KeyColumn("live_recommendations", "user_key"),
    KeyColumn("event_inbox", "user_key", PRESENT),
    KeyColumn("event_inbox", "session_key", PRESENT),
    KeyColumn("event_inbox", "earlier_key", PRESENT),
    KeyColumn("ingest_updates", "key", "kind NOT LIKE 'item%'"),
    KeyColumn("ingest_statements", "key", "kind NOT LIKE 'item%'"),
)
_ABOUT_USERS: Final = "NOT EXISTS (SELECT FROM recommendation_batches AS batch WHERE subject_kind <> 'user' AND {})"
_SHOWN: Final = _ABOUT_USERS.format(
    "batch.batch_id = (SELECT batch_id FROM publication_periods AS period "
    "WHERE period.period_id = published_lists.period_id)"
)
# The answers that were shown together: arrays in the JSON of a row.
ARRAYS: Final = ("user_key", "session_key")
GROUPED: Final = f"kind = 'answers' AND {PRESENT}"
# Values in JSON: the column, and the field.
FIELDS: Final = (
    ("ingest_updates", "payload", "user_key"),
    ("ingest_statements", "payload", "user_key"),
    ("quarantine", "payload", "user_key"),
)


def key_columns(connection: Connection) -> list[KeyColumn]:
    """Return all columns, with those of every batch of lists."""
    return [*COLUMNS, KeyColumn("published_lists", "subject", _SHOWN), *_lists(connection)]


def _lists(connection: Connection) -> list[KeyColumn]:
    """Return the tables of all batches of lists for users, including those of interrupted runs."""
    about = "SELECT batch_id FROM recommendation_batches WHERE subject_kind <> 'user'"
    others = set(connection.execute(text(about)).scalars())
    return [
        KeyColumn(partition_name(parent, batch_id), column, f"{column} <> ''")
        for batch_id in sorted(existing(connection) - others)
        for parent, column in (("recommendations", "subject"), ("batch_users", "user_key"))
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": partition_name(parent, batch_id)}).scalar()
    ]
