"""Reads from Postgres which bundle a registered version is. What MLflow states is not trusted."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from infra.database.schema.schema import promotions, reviews


@dataclass(frozen=True)
class RecordedVersion:
    """The run and the manifest's digest of a version, from its promotion or its review."""

    version: int
    digest: str
    run_id: str | None
    """None for promotions by older versions of Tailorbird."""


def recorded_version(connection: Connection, version: int) -> RecordedVersion | None:
    """Return the record of a version; None if no review recorded its digest."""
    for table, newest in ((promotions, promotions.c.promotion_id), (reviews, reviews.c.review_id)):
        query = select(table.c.digest, table.c.run_id).where(table.c.model_version == version)
        row = connection.execute(query.order_by(newest.desc()).limit(1)).first()
        if row is not None and row.digest:
            return RecordedVersion(version, row.digest, row.run_id)
    return None


def promoted_version(connection: Connection) -> int | None:
    """Return the version that was promoted last."""
    newest = select(promotions.c.model_version).order_by(promotions.c.promotion_id.desc()).limit(1)
    return connection.execute(newest).scalar()
