"""Connects to a database to read from: read-only, with cursors on the server, and errors that quote no row."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from infra.database.engine import hide_values
from models.errors import TailorbirdError
from tasks.sources.sql.database_address import read_address, shown, without_secrets

CHUNK_ROWS: Final = 10_000
"""Rows that are fetched at a time."""
_PACKAGES: Final = MappingProxyType(
    {
        "bigquery": "sqlalchemy-bigquery",
        "clickhouse": "clickhouse-connect",
        "databricks": "databricks-sqlalchemy",
        "duckdb": "duckdb-engine",
        "redshift": "sqlalchemy-redshift",
        "snowflake": "snowflake-sqlalchemy",
        "trino": "trino",
        "MySQLdb": "mysqlclient",
        "cx_Oracle": "cx-Oracle",
        "psycopg": "psycopg[binary]",
    }
)
"""Packages by the dialect or the module that they bring, if their name is another."""
_READ_ONLY: Final = MappingProxyType(
    {
        "mysql": "SET SESSION TRANSACTION READ ONLY",
        "mariadb": "SET SESSION TRANSACTION READ ONLY",
        "sqlite": "PRAGMA query_only = ON",
    }
)
"""Statements that make a session read-only. PostgreSQL and DuckDB have options for that."""
_CONNECT_SECONDS: Final = 30
_LONGEST: Final = 400
_OF_TYPE: Final[dict[str, tuple[int, date, date]]] = {
    "PYDATE": (1082, date.min, date.max),
    "PYDATETIME": (1114, datetime.min, datetime.max),
    "PYDATETIMETZ": (1184, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
}
"""PostgreSQL's number of a type, and the moments in place of earlier and later ones, by psycopg2's reader."""


class SourceDatabaseError(TailorbirdError):
    """A database cannot be reached, or does not have what the mapping names."""


@dataclass(frozen=True)
class SourceDatabase:
    """A database to read from."""

    url: URL
    engine: Engine

    @property
    def name(self) -> str:
        """Return its address without its login."""
        return shown(self.url)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Yield a connection in a read-only transaction that streams. Raises SourceDatabaseError."""
        with self._explained("cannot be reached or refuses the login", quoted=True):
            connection = self.engine.connect()
        options: dict[str, Any] = {"stream_results": True, "yield_per": CHUNK_ROWS}
        if self.engine.dialect.name == "postgresql":
            options |= {"postgresql_readonly": True}
        try:
            with self._explained("could not be read to the end"):
                yield connection.execution_options(**options)
        finally:
            with self._explained("could not be read to the end"):
                connection.close()

    @contextmanager
    def explained(self, subject: str) -> Iterator[None]:
        """Explain errors of statements that read no row, so that the database's own words are safe to show."""
        with self._explained(f"cannot read {subject}", quoted=True):
            yield

    @contextmanager
    def _explained(self, fault: str, *, quoted: bool = False) -> Iterator[None]:
        """Raise errors of the database as SourceDatabaseError; only `quoted` ones contain its message."""
        errors: tuple[type[Exception], ...] = (SQLAlchemyError, *_driver_errors(self.engine))
        try:
            yield
        except errors as error:
            raise SourceDatabaseError(f"{self.name} {fault}: {self._words(error, quoted)}.") from None

    def _words(self, error: BaseException, quoted: bool) -> str:
        original = getattr(error, "orig", None) or error
        kind = type(original).__name__
        # Errors of psycopg2 have no values of rows any more: see infra.database.engine.
        if not quoted and not type(original).__module__.startswith("psycopg2"):
            return f"{kind}; its message is left out, since it may quote a row"
        first = next((line.strip() for line in str(original).splitlines() if line.strip()), kind)
        return without_secrets(first, self.url).rstrip(".")[:_LONGEST]


@contextmanager
def source_database(address: str) -> Iterator[SourceDatabase]:
    """Yield the database at an address or `env:NAME`. Raises TailorbirdError if it cannot be used."""
    url = read_address(address)
    engine = _engine(url)
    hide_values(engine)
    _make_read_only(engine)
    accept_far_times(engine)
    try:
        yield SourceDatabase(url, engine)
    finally:
        engine.dispose()


def _engine(url: URL) -> Engine:
    arguments: dict[str, Any] = {}
    if url.drivername == "postgresql+psycopg2" and "connect_timeout" not in url.query:
        arguments["connect_timeout"] = _CONNECT_SECONDS
    if url.get_backend_name() == "duckdb":
        arguments["read_only"] = True
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    except NoSuchModuleError:
        raise _missing(url.get_backend_name(), url) from None
    except ModuleNotFoundError as error:
        raise _missing(error.name or url.drivername, url) from None
    except (ArgumentError, ValueError, TypeError) as error:
        words = without_secrets(str(error).splitlines()[0], url)
        raise SourceDatabaseError(f"The address of {shown(url)} cannot be used: {words}.") from None


def _missing(module: str, url: URL) -> SourceDatabaseError:
    """Return the error for a driver that is not installed."""
    package = _PACKAGES.get(module, re.sub(r"_", "-", module))
    return SourceDatabaseError(
        f"The driver for {url.drivername} is not installed. Install it where Tailorbird runs: pip install {package!r}. "
        "If the database has another driver, name it in the address, as in mysql+pymysql://."
    )


def _make_read_only(engine: Engine) -> None:
    statement = _READ_ONLY.get(engine.dialect.name)
    if statement is None:
        return

    def read_only(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()

    event.listen(engine, "connect", read_only)


def _driver_errors(engine: Engine) -> tuple[type[Exception], ...]:
    """Return the errors that a driver raises while it fetches rows, which SQLAlchemy does not wrap everywhere."""
    error = getattr(engine.dialect.dbapi, "Error", DBAPIError)
    return (error,) if isinstance(error, type) and issubclass(error, Exception) else (DBAPIError,)


def accept_far_times(engine: Engine) -> None:
    """Read times beyond Python's years as the first or the last moment, which rules for rows refuse.

    One row with such a time, such as 12026-03-01, must not cost all others. Other drivers than psycopg2 stay.
    """
    if engine.dialect.driver != "psycopg2":
        return
    from psycopg2 import Error, extensions

    def bounded(read: Callable[[str | None, Any], Any], first: date, last: date) -> Callable[[str | None, Any], Any]:
        def value_of(text: str | None, cursor: Any) -> Any:
            if text is None:
                return None
            if text.lstrip("-") == "infinity":
                return first if text.startswith("-") else last
            try:
                return read(text, cursor)
            except (ValueError, OverflowError, Error):
                return first if text.endswith("BC") else last

        return value_of

    types = [
        extensions.new_type((number,), f"bounded {name}", bounded(getattr(extensions, name), first, last))
        for name, (number, first, last) in _OF_TYPE.items()
    ]

    def register(connection: Any, _record: Any) -> None:
        for one in types:
            extensions.register_type(one, connection)

    event.listen(engine, "connect", register)
