"""The tables of a batch of lists: its partition of `recommendations`, and of the texts of its codes.

They are created and committed empty, filled, attached to the tables that readers query, and dropped. No reader waits
for any of it.
"""

from collections.abc import Iterable
from contextlib import suppress
from time import sleep
from typing import Final, NamedTuple

from psycopg2.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import OperationalError, PendingRollbackError

from infra.database.binary_copy import USER_COLUMNS, copy_binary, encoded_users
from infra.database.bulk_copy import copy
from models.lists.ranked_lists import BatchUsers

PARENTS: Final = {
    "recommendations": "subject",
    "batch_items": "item_code",
    "batch_reasons": "reason_code",
    "batch_users": "user_key",
}
"""The tables that readers query, and the key column of each within a batch."""
WORDS: Final = {"batch_items": "item_id", "batch_reasons": "reason"}
_POLLS: Final = 300
_PATIENCE: Final = "5s"
"""How long dropping a batch's tables waits for their readers; it blocks no query meanwhile."""

_ATTACHED = text(
    "SELECT inhparent::regclass::text, inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(:table)"
)
_PENDING = text(
    "SELECT inhparent::regclass::text AS parent, inhrelid::regclass::text AS part FROM pg_inherits "
    "WHERE inhdetachpending AND inhparent::regclass::text = ANY (:parents)"
)
_READING = text(
    "SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE relation = 'recommendations'::regclass "
    # Both can be hidden for sessions of other roles.
    "AND coalesce(state, 'active') = 'active' AND coalesce(query_start, '-infinity') < :attached "
    "AND pid <> pg_backend_pid() LIMIT 1"
)
_ALL = text(
    "SELECT (regexp_match(relname, '^(recommendations|batch_items|batch_reasons|batch_users)_([0-9]+)$'))[2]::bigint "
    "AS batch_id "
    "FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
)


def partition_name(parent: str, batch_id: int) -> str:
    """Return the name of a batch's table."""
    return f"{parent}_{batch_id}"


def create(connection: Connection, batch_id: int) -> None:
    """Create the empty tables with their keys, and with the checks that let them be attached without a scan.

    Commit before they are filled: leftovers of a crash can then be dropped. A key that is created later is a new file,
    and PostgreSQL does not delete files that were not committed when it crashed.
    """
    for parent, column in PARENTS.items():
        name = partition_name(parent, batch_id)
        connection.execute(text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS)"))
        connection.execute(text(f"ALTER TABLE {name} ADD PRIMARY KEY (batch_id, {column})"))
        connection.execute(text(f"ALTER TABLE {name} ADD CONSTRAINT {name}_batch CHECK (batch_id = {batch_id})"))


def write_words(connection: Connection, batch_id: int, table: str, words: Iterable[tuple[int, str]]) -> None:
    """Write the texts of a batch's codes to one of the tables of `WORDS`."""
    names = ("batch_id", PARENTS[table], WORDS[table])
    copy(connection, partition_name(table, batch_id), names, ((batch_id, *word) for word in words))


def write_users(connection: Connection, batch_id: int, users: BatchUsers) -> None:
    """Write what a batch knows of single users."""
    copy_binary(connection, partition_name("batch_users", batch_id), USER_COLUMNS, encoded_users(batch_id, users))


def analyze(connection: Connection, batch_id: int) -> None:
    """Collect PostgreSQL's statistics of the full tables."""
    for parent in PARENTS:
        connection.execute(text(f"ANALYZE {partition_name(parent, batch_id)}"))


def attach(connection: Connection, batch_id: int) -> None:
    """Attach the tables to those that readers query; no pointer names the batch yet.

    Readers do not wait for it. It waits seconds for other runs that attach or detach.
    """
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    for parent in PARENTS:
        name = partition_name(parent, batch_id)
        connection.execute(text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES IN ({batch_id})"))


def await_earlier_readers(engine: Engine) -> None:
    """Wait, for seconds at most, for statements that were planned before a batch was attached.

    Their plan does not know the batch, but they may take their snapshot after the pointer names it: they would read
    nothing at all. No other session waits meanwhile.
    """
    with engine.connect() as connection:
        attached = connection.execute(select(func.clock_timestamp())).scalar_one()
    for _ in range(_POLLS):
        with engine.connect() as connection:
            if connection.execute(_READING, {"attached": attached}).first() is None:
                return
        sleep(0.01)


def drop(engine: Engine, batch_id: int) -> bool:
    """Detach a batch's tables and drop them; return False if a query still reads them after seconds.

    They are detached concurrently, which waits for their readers and blocks no query.
    """
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"SET statement_timeout = '{_PATIENCE}'"))
            try:
                _finish_pending(connection)
                for parent in PARENTS:
                    _detach(connection, partition_name(parent, batch_id))
                    connection.execute(text(f"DROP TABLE IF EXISTS {partition_name(parent, batch_id)}"))
            finally:
                with suppress(OperationalError, PendingRollbackError):  # a lost connection raises below
                    connection.execute(text("RESET statement_timeout"))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable | QueryCanceled):
            raise
        return False
    return True


def _finish_pending(connection: Connection) -> None:
    """Finish detaching for a killed process: PostgreSQL detaches no other partition before that."""
    for row in connection.execute(_PENDING, {"parents": list(PARENTS)}).all():
        connection.execute(text(f"ALTER TABLE {row.parent} DETACH PARTITION {row.part} FINALIZE"))


def _detach(connection: Connection, table: str) -> None:
    attached = connection.execute(_ATTACHED, {"table": table}).first()
    if attached is not None:
        connection.execute(text(f"ALTER TABLE {attached[0]} DETACH PARTITION {table} CONCURRENTLY"))


class StoredCounts(NamedTuple):
    """Counts of a batch's table."""

    lists: int
    recommendations: int
    ragged: int


def existing(connection: Connection) -> set[int]:
    """Return the batches that have tables."""
    return {batch_id for batch_id in connection.execute(_ALL).scalars() if batch_id is not None}


def count(connection: Connection, batch_id: int) -> StoredCounts:
    """Count the `lists` in a batch's table, the `recommendations` on them, and `ragged` rows of unequal arrays."""
    row = connection.execute(
        text(f"""
            SELECT count(*) AS lists, coalesce(sum(cardinality(items)), 0) AS recommendations,
                   count(*) FILTER (WHERE cardinality(scores) <> cardinality(items)
                                    OR cardinality(reasons) <> cardinality(items)) AS ragged
            FROM {partition_name("recommendations", batch_id)}
        """)
    ).one()
    return StoredCounts(int(row.lists), int(row.recommendations), int(row.ragged))


def erase(connection: Connection, batch_id: int, consent: str) -> int:
    """Delete the lists for which the query `consent` has no row, and return their number.

    What the batch knows of their users is deleted too.
    """
    about_users = partition_name("batch_users", batch_id)
    known = f"(SELECT user_key AS subject, ctid AS at FROM {about_users} WHERE user_key <> '') AS list"
    refused = f"SELECT list.at FROM {known} WHERE NOT EXISTS ({consent})"
    connection.execute(text(f"DELETE FROM {about_users} WHERE ctid IN ({refused})"))
    table = partition_name("recommendations", batch_id)
    return int(connection.execute(text(f"DELETE FROM {table} AS list WHERE NOT EXISTS ({consent})")).rowcount)
