"""Re-keys PostgreSQL's tables in one transaction, so that readers see all new keys or none."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, Engine, text

from infra.database.bulk_copy import copy_table
from infra.keys.identity import rekeyed
from tasks.scoring.partitions import existing, partition_name


class _Keys(NamedTuple):
    """A column with user keys, in all rows or in those of a condition."""

    table: str
    column: str
    where: str = "true"


# A message of a process that still has an earlier key; its batch re-keys it.
_PRESENT: Final = "key_version = (SELECT max(key_version) FROM identity.users)"
_COLUMNS: Final = (
    _Keys("identity.users", "user_key"),
    _Keys("users", "user_key"),
    _Keys("user_history", "user_key"),
    _Keys("aliases", "anonymous_key"),
    _Keys("aliases", "user_key"),
    _Keys("suppressions", "user_key"),
    _Keys("exclusions", "user_key"),
    _Keys("segments", "user_key"),
    _Keys("session_profiles", "subject"),
    _Keys("rescoring_requests", "user_key"),
    _Keys("live_recommendations", "user_key"),
    _Keys("event_inbox", "user_key", _PRESENT),
    _Keys("event_inbox", "session_key", _PRESENT),
    _Keys("event_inbox", "earlier_key", _PRESENT),
    _Keys("ingest_updates", "key", "kind NOT LIKE 'item%'"),
    _Keys("ingest_statements", "key", "kind NOT LIKE 'item%'"),
)
_ABOUT_USERS: Final = "NOT EXISTS (SELECT FROM recommendation_batches AS batch WHERE subject_kind <> 'user' AND {})"
_SHOWN: Final = _ABOUT_USERS.format(
    "batch.batch_id = (SELECT batch_id FROM publication_periods AS period "
    "WHERE period.period_id = published_lists.period_id)"
)
# The answers that were shown together: arrays in the JSON of a row.
_ARRAYS: Final = ("user_key", "session_key")
_GROUPED: Final = f"kind = 'answers' AND {_PRESENT}"
# Values in JSON: the column, and the field.
_FIELDS: Final = (
    ("ingest_updates", "payload", "user_key"),
    ("ingest_statements", "payload", "user_key"),
    ("quarantine", "payload", "user_key"),
)
_REKEY_ARRAY: Final = f"""
    UPDATE event_inbox SET payload = payload || jsonb_build_object('{{name}}', (
        SELECT jsonb_agg(rekeyed.new ORDER BY own.place)
        FROM jsonb_array_elements_text(payload -> '{{name}}') WITH ORDINALITY AS own (key, place)
        LEFT JOIN rekeyed ON rekeyed.old = own.key)) WHERE {_GROUPED}"""


def rekey_tables(connection: Connection, added: list[str], generation: int) -> Iterator[str]:
    """Re-key all tables by the added keys of the chain; yields each finished table."""
    key_columns = _key_columns(connection)
    _create_mapping(connection, key_columns, added)
    for keys in key_columns:
        connection.execute(
            text(
                f"UPDATE {keys.table} SET {keys.column} = rekeyed.new FROM rekeyed "
                f"WHERE {keys.table}.{keys.column} = rekeyed.old AND {keys.where}"
            )
        )
        yield keys.table
    for table, column, name in _FIELDS:
        connection.execute(
            text(
                f"UPDATE {table} SET {column} = jsonb_set({column}, '{{{name}}}', to_jsonb(rekeyed.new)) FROM rekeyed "
                f"WHERE {column} ->> '{name}' = rekeyed.old"
            )
        )
        yield table
    for name in _ARRAYS:
        connection.execute(text(_REKEY_ARRAY.format(name=name)))
        yield "event_inbox"
    present = f"UPDATE event_inbox SET key_version = :generation WHERE {_PRESENT}"
    connection.execute(text(present), {"generation": generation})
    connection.execute(text("UPDATE identity.users SET key_version = :generation"), {"generation": generation})


def count(connection: Connection) -> int:
    """Return the number of steps that `rekey_tables` yields."""
    return len(_key_columns(connection)) + len(_FIELDS) + len(_ARRAYS)


def tidy(engine: Engine) -> None:
    """Remove old rows, and statistics with old keys, from PostgreSQL."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def _key_columns(connection: Connection) -> list[_Keys]:
    return [*_COLUMNS, _Keys("published_lists", "subject", _SHOWN), *_lists(connection)]


def _lists(connection: Connection) -> list[_Keys]:
    """Return the tables of all batches of lists for users, including those of interrupted runs."""
    about = "SELECT batch_id FROM recommendation_batches WHERE subject_kind <> 'user'"
    others = set(connection.execute(text(about)).scalars())
    return [
        _Keys(partition_name(parent, batch_id), column, f"{column} <> ''")
        for batch_id in sorted(existing(connection) - others)
        for parent, column in (("recommendations", "subject"), ("batch_users", "user_key"))
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": partition_name(parent, batch_id)}).scalar()
    ]


def _create_mapping(connection: Connection, key_columns: list[_Keys], added: list[str]) -> None:
    """Create the temporary table `rekeyed` with every user key, so that no pseudonym key is sent to the server."""
    columns = [f"SELECT {keys.column} AS key FROM {keys.table} WHERE {keys.where}" for keys in key_columns]
    columns += [f"SELECT {column} ->> '{name}' FROM {table}" for table, column, name in _FIELDS]
    columns += [
        f"SELECT jsonb_array_elements_text(payload -> '{name}') FROM event_inbox WHERE {_GROUPED}" for name in _ARRAYS
    ]
    statement = f"SELECT key FROM ({' UNION '.join(columns)}) AS all_keys WHERE key IS NOT NULL"
    old = pa.array(connection.execute(text(statement)).scalars(), pa.string())
    connection.execute(text("CREATE TEMP TABLE rekeyed (old text PRIMARY KEY, new text NOT NULL) ON COMMIT DROP"))
    copy_table(connection, "rekeyed", pa.table({"old": old, "new": rekeyed(old, added)}))
    connection.execute(text("ANALYZE rekeyed"))
