"""Creates the databases on the server: one for each program, and on the own server one owner for each."""

import contextlib
from collections.abc import Iterator

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, cursor, encrypt_password
from sqlalchemy import URL

from models.errors import TailorbirdError


class DatabaseRefusedError(TailorbirdError):
    """The database server refuses the login or the creation of a database."""


def give_own_database(admin: URL, name: str, password: str) -> URL:
    """Return a database of its own role, which no other role may enter; create or repair both if needed."""
    own = admin.set(username=name, password=password, database=name)
    with session(admin) as statements:
        statements.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if statements.fetchone() and lets_in(own):
            return own
        role, secret = sql.Identifier(name), encrypt_password(password, name, statements.connection, "scram-sha-256")
        with contextlib.suppress(errors.DuplicateObject):
            statements.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        statements.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD %s").format(role), [secret])
        with contextlib.suppress(errors.DuplicateDatabase):
            statements.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(role))
        statements.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))
    return own


def share_server(given: URL, name: str) -> URL:
    """Return another database on the given server for the same role; create it if the role may."""
    beside = given.set(database=name)
    if lets_in(beside):
        return beside
    statement = f'CREATE DATABASE "{name}" OWNER "{given.username}";'
    try:
        with session(given) as statements, contextlib.suppress(errors.DuplicateDatabase):
            statements.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except errors.InsufficientPrivilege:
        raise DatabaseRefusedError(
            f"{name.capitalize()} needs a database of its own on {given.host}, and the role {given.username} may "
            f"not create one. Have an administrator run:\n    {statement}\nor use a running {name} server instead."
        ) from None
    if not lets_in(beside):
        raise DatabaseRefusedError(f"The role {given.username} may not use the database {name} on {given.host}.")
    return beside


def lets_in(url: URL) -> bool:
    """Return whether the database accepts this user and password."""
    try:
        _connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextlib.contextmanager
def session(url: URL) -> Iterator[cursor]:
    """Yield a cursor outside transactions, in which databases can be created. Raises DatabaseRefusedError."""
    try:
        opened = _connect(url)
    except psycopg2.OperationalError as error:
        # libpq's message names host, port, role and database, never the password.
        raise DatabaseRefusedError(
            f"The database does not let {url.username} in: {str(error).strip()}. Check TAILORBIRD_DATABASE_URL and its "
            "server; if the server is ours, restart it with `tailorbird down` and `tailorbird up`."
        ) from None
    try:
        opened.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        yield opened.cursor()
    finally:
        opened.close()


def _connect(url: URL) -> connection:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg2.connect(plain, connect_timeout=5)
