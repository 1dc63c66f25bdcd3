"""Reads the clock of the database, which all machines of an installation share."""

from datetime import UTC, datetime

from sqlalchemy import Connection, func, select


def database_now(connection: Connection) -> datetime:
    """Return the database's time in UTC.

    Never compare times of the database with a machine's own clock: that clock may be wrong or be adjusted.
    """
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
