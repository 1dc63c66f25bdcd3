"""Connections to Tailorbird's Postgres database, and its migrations."""

from functools import cache
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url, text

_MIGRATION_LOCK = 0x7A11


def normalise(url: str) -> str:
    """The same address for psycopg2: SQLAlchemy reads a plain `postgresql://` as another driver."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgres", "postgresql"}:
        msg = "a database URL looks like postgresql://user:password@host:5432/database"
        raise ValueError(msg)
    return f"postgresql+psycopg2://{rest}"


@cache
def engine(url: str) -> Engine:
    """One engine per address and process; a connection lost while idle is noticed and replaced."""
    return create_engine(make_url(normalise(url)), pool_pre_ping=True, pool_size=4, hide_parameters=True)


def migrate(url: str) -> None:
    """Bring the database to the current schema. Two processes at once: the second waits, then has nothing to do."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine(url).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
