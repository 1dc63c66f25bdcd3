"""The one clock of an installation: the database's, which all its machines share."""

from datetime import UTC, datetime

from sqlalchemy import Connection, func, select


def database_now(connection: Connection) -> datetime:
    """Return the database's time in UTC.

    Compare nothing that the database has dated with a machine's own clock: that one may be wrong, or be set meanwhile.
    """
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
