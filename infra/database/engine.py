"""Opens connections to Tailorbird's database and migrates its schema."""

import os
from functools import cache
from pathlib import Path

from sqlalchemy import Engine as Engine
from sqlalchemy import create_engine, text

from infra.configuration import addresses
from infra.database.errors import hide_values
from models.errors import TailorbirdError

_MIGRATION_LOCK = 0x7A11
_CONNECT_SECONDS = 30


class NewerSchemaError(TailorbirdError):
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


def migrate(url: str) -> None:
    """Migrate the database to the current schema. Of two simultaneous processes the second waits and does nothing.

    Raises NewerSchemaError for a database that a later version migrated.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine(url).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise NewerSchemaError(
                f"A newer version of Tailorbird migrated this database ({error}). Update Tailorbird, or restore a "
                "backup from before that version."
            ) from None
