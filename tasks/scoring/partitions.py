"""The tables of a batch of lists: its part of `recommendations`, and of the words that the codes in it stand for.

They are made and committed empty, filled, attached to what readers read, and dropped. No reader waits for any of it.
"""

from collections.abc import Iterable
from contextlib import suppress
from time import sleep
from typing import Any, Final

from psycopg2.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import OperationalError, PendingRollbackError

from infra.database.bulk_copy import copy

PARENTS: Final = {"recommendations": "subject", "batch_items": "item_code", "batch_reasons": "reason_code"}
"""What readers read, and the column that is a batch's key there."""
WORDS: Final = {"batch_items": "item_id", "batch_reasons": "reason"}
_LOOKS: Final = 300
_PATIENCE: Final = "5s"
"""How long a batch's tables may wait for those who still read them, without being in anybody's way."""

_ATTACHED = text(
    "SELECT inhparent::regclass::text, inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(:table)"
)
_PENDING = text(
    "SELECT inhparent::regclass::text AS parent, inhrelid::regclass::text AS part FROM pg_inherits "
    "WHERE inhdetachpending AND inhparent::regclass::text = ANY (:parents)"
)
_READING = text(
    "SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE relation = 'recommendations'::regclass "
    # Of other roles' sessions neither may be known.
    "AND coalesce(state, 'active') = 'active' AND coalesce(query_start, '-infinity') < :attached "
    "AND pid <> pg_backend_pid() LIMIT 1"
)
_ALL = text(
    "SELECT (regexp_match(relname, '^(recommendations|batch_items|batch_reasons)_([0-9]+)$'))[2]::bigint AS batch_id "
    "FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
)


def part(parent: str, batch_id: int) -> str:
    """The name of a batch's table."""
    return f"{parent}_{batch_id}"


def create(connection: Connection, batch_id: int) -> None:
    """Make the empty tables, with their keys and the checks that let them be attached without being read again.

    Commit before they are filled: what a crash leaves can then be dropped. A key that is made later is a new file, and
    PostgreSQL does not delete the files of what was not committed when it crashed.
    """
    for parent, column in PARENTS.items():
        name = part(parent, batch_id)
        connection.execute(text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS)"))
        connection.execute(text(f"ALTER TABLE {name} ADD PRIMARY KEY (batch_id, {column})"))
        connection.execute(text(f"ALTER TABLE {name} ADD CONSTRAINT {name}_batch CHECK (batch_id = {batch_id})"))


def write_words(connection: Connection, batch_id: int, table: str, words: Iterable[tuple[int, str]]) -> None:
    """What the codes of a batch stand for, in one of the tables of `WORDS`."""
    names = ("batch_id", PARENTS[table], WORDS[table])
    copy(connection, part(table, batch_id), names, ((batch_id, *word) for word in words))


def analyze(connection: Connection, batch_id: int) -> None:
    """Let PostgreSQL know what is in the full tables."""
    for parent in PARENTS:
        connection.execute(text(f"ANALYZE {part(parent, batch_id)}"))


def attach(connection: Connection, batch_id: int) -> None:
    """Make the tables part of what readers read; nobody's pointer names the batch yet.

    Readers do not wait for it; it waits for others who attach or detach, which takes them seconds.
    """
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    for parent in PARENTS:
        name = part(parent, batch_id)
        connection.execute(text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES IN ({batch_id})"))


def await_earlier_readers(engine: Engine) -> None:
    """Wait, for seconds at most, for statements that were planned before a batch was attached.

    Their plan does not know the batch, but they may take their snapshot after the pointer names it: they would read
    nothing at all. Nobody waits for us meanwhile.
    """
    with engine.connect() as connection:
        attached = connection.execute(select(func.clock_timestamp())).scalar_one()
    for _ in range(_LOOKS):
        with engine.connect() as connection:
            if connection.execute(_READING, {"attached": attached}).first() is None:
                return
        sleep(0.01)


def drop(engine: Engine, batch_id: int) -> bool:
    """Take a batch's tables from the readers and drop them; False when somebody still reads them after seconds.

    They are detached concurrently, which waits for those who read and stands in nobody's way.
    """
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"SET statement_timeout = '{_PATIENCE}'"))
            try:
                _finish_pending(connection)
                for parent in PARENTS:
                    _detach(connection, part(parent, batch_id))
                    connection.execute(text(f"DROP TABLE IF EXISTS {part(parent, batch_id)}"))
            finally:
                with suppress(OperationalError, PendingRollbackError):  # a lost connection: what it was lost in is told
                    connection.execute(text("RESET statement_timeout"))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable | QueryCanceled):
            raise
        return False
    return True


def _finish_pending(connection: Connection) -> None:
    """What a killed process had begun to detach: PostgreSQL detaches nothing else before that is finished."""
    for row in connection.execute(_PENDING, {"parents": list(PARENTS)}).all():
        connection.execute(text(f"ALTER TABLE {row.parent} DETACH PARTITION {row.part} FINALIZE"))


def _detach(connection: Connection, table: str) -> None:
    attached = connection.execute(_ATTACHED, {"table": table}).first()
    if attached is not None:
        connection.execute(text(f"ALTER TABLE {attached[0]} DETACH PARTITION {table} CONCURRENTLY"))


def existing(connection: Connection) -> set[int]:
    """The batches that have tables."""
    return {batch_id for batch_id in connection.execute(_ALL).scalars() if batch_id is not None}


def count(connection: Connection, batch_id: int) -> Any:
    """What stands in a batch's table: `lists`, `recommendations` on them, and `ragged` rows of unequal arrays."""
    return connection.execute(
        text(f"""
            SELECT count(*) AS lists, coalesce(sum(cardinality(items)), 0) AS recommendations,
                   count(*) FILTER (WHERE cardinality(scores) <> cardinality(items)
                                    OR cardinality(reasons) <> cardinality(items)) AS ragged
            FROM {part("recommendations", batch_id)}
        """)
    ).one()


def erase(connection: Connection, batch_id: int, agreed: str) -> int:
    """Delete the lists of users who are not in the query `agreed` (`user_key`); returns their number."""
    gone = f"DELETE FROM {part('recommendations', batch_id)} AS shelf WHERE NOT EXISTS ({agreed})"
    return int(connection.execute(text(gone)).rowcount)
