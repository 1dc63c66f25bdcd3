"""Finds results that contain a batch's rows: data sets, the champion and lists."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from infra.database.schema.ledger_schema import ingest_applications
from infra.database.schema.schema import datasets, placements, recommendation_batches
from tasks.promotion.champion import current_champion


class Traces(NamedTuple):
    """Results from the time when a batch counted."""

    datasets: list[str]
    champion: int | None
    placements: list[str]


def applied(connection: Connection, batches: list[str]) -> dict[str, str]:
    """Return since when each of these batches counts, as text."""
    entry = ingest_applications.c
    first = select(entry.batch_id, func.min(entry.applied_at)).where(entry.batch_id.in_(batches))
    return {name: moment.isoformat() for name, moment in connection.execute(first.group_by(entry.batch_id)).tuples()}


def find_traces(connection: Connection, first: datetime | None) -> Traces:
    """Return the results since the `first` of these batches was committed; none without that time."""
    if first is None:
        return Traces([], None, [])
    made = select(datasets.c.version).where(datasets.c.created_at >= first).order_by(datasets.c.created_at)
    versions = list(connection.execute(made).scalars())
    champion = current_champion(connection)
    learned = champion is not None and champion["dataset_version"] in versions
    lists = (
        select(placements.c.placement)
        .join(recommendation_batches, recommendation_batches.c.batch_id == placements.c.batch_id)
        .where(recommendation_batches.c.created_at >= first)
        .order_by(placements.c.placement)
    )
    shown = list(connection.execute(lists).scalars())
    return Traces(versions, int(champion["model_version"]) if champion is not None and learned else None, shown)
