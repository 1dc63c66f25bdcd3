"""Re-keys PostgreSQL's tables in one transaction, so that readers see all new keys or none."""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, Engine, text

from infra.database.bulk_copy import copy_table
from infra.keys.identity import rekeyed
from tasks.privacy.register import ARRAYS, FIELDS, GROUPED, PRESENT, KeyColumn, key_columns

_REKEY_ARRAY: Final = f"""
    UPDATE event_inbox SET payload = payload || jsonb_build_object('{{name}}', (
        SELECT jsonb_agg(rekeyed.new ORDER BY own.place)
        FROM jsonb_array_elements_text(payload -> '{{name}}') WITH ORDINALITY AS own (key, place)
        LEFT JOIN rekeyed ON rekeyed.old = own.key)) WHERE {GROUPED}"""


def rekey_tables(connection: Connection, added: list[str], generation: int) -> Iterator[str]:
    """Re-key all tables by the added keys of the chain; yields each finished table."""
    known = key_columns(connection)
    _create_mapping(connection, known, added)
    for keys in known:
        connection.execute(
            text(
                f"UPDATE {keys.table} SET {keys.column} = rekeyed.new FROM rekeyed "
                f"WHERE {keys.table}.{keys.column} = rekeyed.old AND {keys.where}"
            )
        )
        yield keys.table
    for table, column, name in FIELDS:
        connection.execute(
            text(
                f"UPDATE {table} SET {column} = jsonb_set({column}, '{{{name}}}', to_jsonb(rekeyed.new)) FROM rekeyed "
                f"WHERE {column} ->> '{name}' = rekeyed.old"
            )
        )
        yield table
    for name in ARRAYS:
        connection.execute(text(_REKEY_ARRAY.format(name=name)))
        yield "event_inbox"
    present = f"UPDATE event_inbox SET key_version = :generation WHERE {PRESENT}"
    connection.execute(text(present), {"generation": generation})
    connection.execute(text("UPDATE identity.users SET key_version = :generation"), {"generation": generation})


def count(connection: Connection) -> int:
    """Return the number of steps that `rekey_tables` yields."""
    return len(key_columns(connection)) + len(FIELDS) + len(ARRAYS)


def tidy(engine: Engine) -> None:
    """Remove old rows, and statistics with old keys, from PostgreSQL."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def _create_mapping(connection: Connection, known: list[KeyColumn], added: list[str]) -> None:
    """Create the temporary table `rekeyed` with every user key, so that no pseudonym key is sent to the server."""
    columns = [f"SELECT {keys.column} AS key FROM {keys.table} WHERE {keys.where}" for keys in known]
    columns += [f"SELECT {column} ->> '{name}' FROM {table}" for table, column, name in FIELDS]
    columns += [
        f"SELECT jsonb_array_elements_text(payload -> '{name}') FROM event_inbox WHERE {GROUPED}" for name in ARRAYS
    ]
    statement = f"SELECT key FROM ({' UNION '.join(columns)}) AS all_keys WHERE key IS NOT NULL"
    old = pa.array(connection.execute(text(statement)).scalars(), pa.string())
    connection.execute(text("CREATE TEMP TABLE rekeyed (old text PRIMARY KEY, new text NOT NULL) ON COMMIT DROP"))
    copy_table(connection, "rekeyed", pa.table({"old": old, "new": rekeyed(old, added)}))
    connection.execute(text("ANALYZE rekeyed"))
