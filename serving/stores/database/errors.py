"""The error of a database that is away."""


class PostgresDownError(Exception):
    """Postgres did not answer in time, not at all, or with an error."""
