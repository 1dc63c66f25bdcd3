"""Opens connections to Tailorbird's database and migrates its schema."""

import os
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy import Engine as Engine

from infra.configuration import addresses
from infra.database.errors import hide_values
from models.errors import TailorbirdError

_MIGRATION_LOCK = 0x7A11
_CONNECT_SECONDS = 30
_BASELINE = "0033"
"""The first revision that migrations lead on from."""


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
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine(url).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        revision = _revision(connection)
        if revision is None:
            from infra.database.schema.creation import create_schema

            create_schema(connection)
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
