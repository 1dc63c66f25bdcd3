"""Locks in PostgreSQL: one run at a time per name, and no run during a rotation of the pseudonym key."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from time import sleep
from typing import Final

from sqlalchemy import Connection, Engine, Executable, func, select, text
from sqlalchemy.exc import OperationalError, PendingRollbackError

from infra.keys.credentials import PSEUDONYM
from infra.keys.trust import KeyRotatingError, confirm_key
from models.errors import TailorbirdError

_LOCK: Final = 0x7A13
_ATTEMPTS: Final = 20
_PREFIX: Final = "tailorbird: "
_LONGEST: Final = 63
"""Bytes of a session's name that PostgreSQL keeps."""
_HOLDERS: Final = text(
    f"SELECT DISTINCT coalesce(nullif(application_name, ''), 'process ' || pid) FROM pg_locks "
    f"JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND classid = 0 AND objid = {_LOCK} "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND granted AND pid <> pg_backend_pid() ORDER BY 1"
)
_LOCKS: Final = "SELECT name, {function}(hashtextextended(name, 0)) FROM unnest(CAST(:names AS text[])) AS name"
_RELEASED: Final = select(func.pg_advisory_unlock_shared(_LOCK))


class LockHeldError(TailorbirdError):
    """Another process holds the lock now."""


class WorkRunsError(TailorbirdError):
    """Other work that stores or reads user keys is running."""


def _share(connection: Connection, work: str) -> None:
    """Block rotations until `_unlock`; `work` names the work in refusals.

    Raises KeyRotatingError during an unfinished rotation, or when the key was rotated after this process began.
    """
    if not connection.execute(select(func.pg_try_advisory_lock_shared(_LOCK))).scalar():
        raise KeyRotatingError(
            f"The {PSEUDONYM} is being rotated, or users are being erased: wait until that has ended, then try again."
        )
    try:
        confirm_key(connection)
        _name(connection, work)
    except BaseException:
        _unlock(connection, _RELEASED)
        raise
    connection.commit()


def _confirm_connection(connection: Connection) -> None:
    """Raise OperationalError when the connection, and with it its locks, was lost."""
    connection.execute(select(1))
    connection.commit()


@contextmanager
def exclusive(engine: Engine, work: str, refusal: str) -> Iterator[Callable[[], None]]:
    """Block all work that stores or reads user keys. Raises WorkRunsError with the names of running work.

    `work` names it in refusals of other work, and `refusal` says what cannot be done now.

    Yields a check that raises OperationalError when the connection, and with it the lock, was lost.
    """
    with engine.connect() as connection:
        if not _taken(connection):
            raise WorkRunsError(
                f"{refusal} while this runs: {'; '.join(_holders(connection)) or 'another process'}. Wait until it has "
                "ended, or stop it, then run the command again."
            )
        _name(connection, work)
        connection.commit()
        try:
            yield partial(_confirm_connection, connection)
        finally:
            _unlock(connection, select(func.pg_advisory_unlock(_LOCK)))


def running_work(engine: Engine) -> list[str]:
    """Return the names of the work that `exclusive` would wait for."""
    with engine.connect() as connection:
        return _holders(connection)


def _holders(connection: Connection) -> list[str]:
    return [name.removeprefix(_PREFIX) for name in connection.execute(_HOLDERS).scalars()]


def _taken(connection: Connection) -> bool:
    """Try to take the lock for two seconds, so that short work such as a check of the reconciler can end."""
    for _ in range(_ATTEMPTS):
        if connection.execute(select(func.pg_try_advisory_lock(_LOCK))).scalar():
            return True
        sleep(0.1)
    return False


def _unlock(connection: Connection, statement: Executable) -> None:
    """Release locks. A lost connection has released them already, and the error that ended the work is raised."""
    with suppress(OperationalError, PendingRollbackError):
        connection.rollback()
        connection.execute(statement)
        _name(connection, "")
        connection.commit()


def _name(connection: Connection, work: str) -> None:
    name = f"{_PREFIX}{work}".encode()[:_LONGEST].decode(errors="ignore") if work else ""
    connection.execute(select(func.set_config("application_name", name, False)))


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
        _share(connection, purpose or ", ".join(names))
        held: list[str] = []
        try:
            take = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            rows = connection.execute(text(_LOCKS.format(function=take)), {"names": list(names)}).all()
            held += [name for name, taken in rows if taken is not False]
            connection.commit()
            for name in names:
                if name not in held:
                    raise LockHeldError(f"Another run works on {name}; wait for it, then look at the ledger.")
            yield partial(_confirm_connection, connection)
        finally:
            if held:
                _unlock(connection, text(_LOCKS.format(function="pg_advisory_unlock")).bindparams(names=held))
            _unlock(connection, _RELEASED)


def is_locked(engine: Engine, name: str) -> bool:
    """Return whether a process holds the lock of a name now."""
    free = select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))
    with engine.connect() as connection:
        return connection.execute(free).scalar() is False
