"""Opens connections to Tailorbird's database, whose errors quote no row, and migrates its schema."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg2
from sqlalchemy import Connection, create_engine, event, func, select, text
from sqlalchemy import Engine as Engine
from sqlalchemy.engine import ExceptionContext

from infra.configuration import addresses
from models.errors import TailorbirdError

_MIGRATION_LOCK = 0x7A11
_CONNECT_SECONDS = 30
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BASELINE = "0033"
"""The first revision that migrations lead on from."""
_BAD_VALUE: Final = "22"
"""The class of codes for invalid values: even the first line of these messages quotes the value."""


class SchemaError(TailorbirdError):
    """The schema of the database is of another version of Tailorbird."""


@cache
def engine(url: str) -> Engine:
    """Return the engine of an address, one per process.

    It replaces connections lost while idle; errors quote no row.
    """
    place = addresses.database(url)
    given = "connect_timeout" in place.query or "PGCONNECT_TIMEOUT" in os.environ
    # A server that hangs accepts the connection and stays silent; libpq would wait forever.
    limits = {} if given else {"connect_timeout": _CONNECT_SECONDS}
    created = create_engine(place, pool_pre_ping=True, pool_size=4, hide_parameters=True, connect_args=limits)
    hide_values(created)
    return created


def refuse_earlier_schema(url: str) -> None:
    """Raise SchemaError for a database that only an earlier version of Tailorbird has migrated."""
    with engine(url).connect() as connection:
        _check(_revision(connection))


def migrate(url: str) -> None:
    """Create the schema in an empty database, or migrate it. Of two simultaneous processes the second does nothing.

    Raises SchemaError for a database whose schema is too old or too new.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine(url).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        revision = _revision(connection)
        if revision is None:
            _create_schema(connection)
            command.stamp(config, "head")
            return
        _check(revision)
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise SchemaError(
                f"A newer version of Tailorbird migrated this database ({error}). Update Tailorbird, or restore a "
                "backup from before that version."
            ) from None


def revisions(url: str) -> tuple[str | None, str | None]:
    """Return the revision of a database's schema, and the one that this version of Tailorbird needs."""
    from alembic.script import ScriptDirectory

    with engine(url).connect() as connection:
        return _revision(connection), ScriptDirectory(str(_MIGRATIONS)).get_current_head()


LIST_FILES: Final = ("experiment_functions", "list_views", "list_functions")


def _create_schema(connection: Connection) -> None:
    """Create schemas and tables, and the views, functions and triggers that the files in `sql` define on them."""
    from infra.database.schema import (  # noqa: F401
        experiment_schema,
        ledger_schema,
        monitoring_schema,
        privacy_schema,
        serving_schema,
        trust_schema,
    )
    from infra.database.schema.schema import metadata  # to which each of the modules adds its tables

    run_files(connection, "schemas")
    metadata.create_all(connection, checkfirst=False)
    run_files(connection, *LIST_FILES, "report_views", "user_functions", "privacy_functions", "triggers")


def run_files(connection: Connection, *names: str) -> None:
    """Run the statements of files in the folder `sql`."""
    for name in names:
        statements = (Path(__file__).parent / "schema" / "sql" / f"{name}.sql").read_text()
        connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


def _revision(connection: Connection) -> str | None:
    """Return the revision of the schema; None for a database without one."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _check(revision: str | None) -> None:
    if revision is not None and revision < _BASELINE:
        raise SchemaError(
            f"This database is of an earlier version of Tailorbird (schema {revision}). Start the previous release "
            "once with `tailorbird up`, then this one."
        )


def hide_values(engine: Engine) -> None:
    """Remove values from every error that statements of this engine raise."""
    event.listen(engine, "handle_error", _handle)


@contextmanager
def values_hidden() -> Iterator[None]:
    """Remove values from errors of a cursor that is used without SQLAlchemy, as for COPY."""
    try:
        yield
    except psycopg2.Error as error:
        error.args = (_text(error),)
        raise


def _handle(context: ExceptionContext) -> None:
    error: Any = context.original_exception
    wrapped = context.sqlalchemy_exception
    if not isinstance(error, psycopg2.Error) or not error.pgcode:
        return  # a failed connection: the message names hosts and no row
    error.args = (_text(error),)
    if wrapped is not None:
        wrapped.args = (f"({type(error).__module__}.{type(error).__name__}) {error.args[0]}",)


def _text(error: psycopg2.Error) -> str:
    """Return the server's first line without DETAIL, CONTEXT and LINE, which contain keys, rows and statements."""
    if not error.pgcode:
        return str(error)
    if error.pgcode.startswith(_BAD_VALUE):
        return f"a value was refused (code {error.pgcode})"
    return error.diag.message_primary or f"code {error.pgcode}"


def database_now(connection: Connection) -> datetime:
    """Return the database's time in UTC.

    Never compare times of the database with a machine's own clock: that clock may be wrong or be adjusted.
    """
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
