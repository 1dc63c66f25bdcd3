"""Separates rotations of the pseudonym key from other work: work shares a lock that a rotation holds exclusively."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from time import sleep
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, func, select, text
from sqlalchemy.exc import OperationalError, PendingRollbackError

from infra.keys.fingerprints import PSEUDONYM
from infra.keys.trust import KeyRotatingError, confirm_key
from models.errors import TailorbirdError

_LOCK: Final = 0x7A13
_ATTEMPTS: Final = 20
_PREFIX: Final = "tailorbird: "
_LONGEST: Final = 63
"""Bytes of a session's name that PostgreSQL keeps."""
_ROTATION: Final = "keys rotate pseudonym"
_HOLDERS: Final = text(
    f"SELECT DISTINCT coalesce(nullif(application_name, ''), 'process ' || pid) FROM pg_locks "
    f"JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND classid = 0 AND objid = {_LOCK} "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND granted AND pid <> pg_backend_pid() ORDER BY 1"
)


class WorkRunsError(TailorbirdError):
    """Other work that stores or reads user keys is running."""


def share(connection: Connection, work: str) -> None:
    """Block rotations until `release`; `work` names the work in refusals.

    Raises KeyRotatingError during an unfinished rotation, or when the key was rotated after this process began.
    """
    if not connection.execute(select(func.pg_try_advisory_lock_shared(_LOCK))).scalar():
        raise KeyRotatingError(
            f"The {PSEUDONYM} is being rotated right now: wait until that has ended, then try again."
        )
    try:
        confirm_key(connection)
        _name(connection, work)
    except BaseException:
        release(connection)
        raise
    connection.commit()


def release(connection: Connection) -> None:
    """Release the lock of `share`. A lost connection has released it already."""
    _unlock(connection, func.pg_advisory_unlock_shared(_LOCK))


def confirm_connection(connection: Connection) -> None:
    """Raise OperationalError when the connection, and with it its locks, was lost."""
    connection.execute(select(1))
    connection.commit()


@contextmanager
def exclusive(engine: Engine) -> Iterator[Callable[[], None]]:
    """Block all work that stores or reads user keys. Raises WorkRunsError with the names of running work.

    Yields a check that raises OperationalError when the connection, and with it the lock, was lost.
    """
    with engine.connect() as connection:
        if not _taken(connection):
            names = [name.removeprefix(_PREFIX) for name in connection.execute(_HOLDERS).scalars()]
            raise WorkRunsError(
                f"The {PSEUDONYM} cannot be rotated while this runs: {'; '.join(names) or 'another process'}. Wait "
                "until it has ended, or stop it, then run the command again. Nothing was changed."
            )
        _name(connection, _ROTATION)
        connection.commit()
        try:
            yield partial(confirm_connection, connection)
        finally:
            _unlock(connection, func.pg_advisory_unlock(_LOCK))


def _taken(connection: Connection) -> bool:
    """Try to take the lock for two seconds, so that short work such as a check of the reconciler can end."""
    for _ in range(_ATTEMPTS):
        if connection.execute(select(func.pg_try_advisory_lock(_LOCK))).scalar():
            return True
        sleep(0.1)
    return False


def _unlock(connection: Connection, give_back: ColumnElement[bool]) -> None:
    with suppress(OperationalError, PendingRollbackError):
        connection.rollback()
        connection.execute(select(give_back))
        _name(connection, "")
        connection.commit()


def _name(connection: Connection, work: str) -> None:
    name = f"{_PREFIX}{work}".encode()[:_LONGEST].decode(errors="ignore") if work else ""
    connection.execute(select(func.set_config("application_name", name, False)))
