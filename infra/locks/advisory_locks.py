"""Advisory locks of PostgreSQL: one run at a time holds the lock of a name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import OperationalError, PendingRollbackError

from infra.locks import usage_lock
from models.errors import TailorbirdError

_LOCKS: Final = "SELECT name, {function}(hashtextextended(name, 0)) FROM unnest(CAST(:names AS text[])) AS name"


class LockHeldError(TailorbirdError):
    """Another process holds the lock now."""


def lock_until_commit(connection: Connection, names: Sequence[str]) -> list[str]:
    """Lock the free ones of these names until the transaction ends; return them."""
    rows = connection.execute(text(_LOCKS.format(function="pg_try_advisory_xact_lock")), {"names": list(names)}).all()
    return [name for name, taken in rows if taken]


@contextmanager
def locked(engine: Engine, *names: str, wait: bool = False, purpose: str = "") -> Iterator[Callable[[], None]]:
    """Hold the locks of these names within the block. A killed process loses them with its connection.

    Raises LockHeldError when another run holds one, unless it may `wait`. Yields a check that raises OperationalError
    when the connection, and with it the lock, was lost: all other connections are replaced silently. Within the block
    no rotation of the pseudonym key begins, and its refusal names `purpose`. Raises KeyRotatingError during a rotation.
    """
    with engine.connect() as connection:
        usage_lock.share(connection, purpose or ", ".join(names))
        held: list[str] = []
        try:
            take = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            rows = connection.execute(text(_LOCKS.format(function=take)), {"names": list(names)}).all()
            held += [name for name, taken in rows if taken is not False]
            connection.commit()
            for name in names:
                if name not in held:
                    raise LockHeldError(f"Another run works on {name}; wait for it, then look at the ledger.")
            yield partial(usage_lock.confirm_connection, connection)
        finally:
            _release(connection, held)
            usage_lock.release(connection)


def is_locked(engine: Engine, name: str) -> bool:
    """Return whether a process holds the lock of a name now."""
    free = select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))
    with engine.connect() as connection:
        return connection.execute(free).scalar() is False


def _release(connection: Connection, held: list[str]) -> None:
    """Release locks. A lost connection has released them already, and the error that ended the work is raised."""
    with suppress(OperationalError, PendingRollbackError):
        if held:
            connection.execute(text(_LOCKS.format(function="pg_advisory_unlock")), {"names": held})
        connection.commit()
