"""Finds what was made from a batch: data sets, the champion and lists, and the command that replaces each of them."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from infra.ledger_schema import COMMITTED, ingest_applications
from infra.schema import datasets, ingest_batches, placements, promotions, recommendation_batches
from tasks.champion import champion


class Traces(NamedTuple):
    """What was made while a batch counted."""

    datasets: list[str]
    champion: int | None
    placements: list[str]
    next: list[str]
    """Commands, in the order in which to run them."""


def applied(connection: Connection, batches: list[str]) -> dict[str, str]:
    """Return since when each of these batches counts, as text."""
    entry = ingest_applications.c
    first = select(entry.batch_id, func.min(entry.applied_at)).where(entry.batch_id.in_(batches))
    return {name: moment.isoformat() for name, moment in connection.execute(first.group_by(entry.batch_id)).tuples()}


def find_traces(connection: Connection, first: datetime | None, batches: list[str]) -> Traces:
    """Return what was made since the `first` of these batches came in; nothing was without such a moment."""
    if first is None:
        return Traces([], None, [], [])
    made = select(datasets.c.version).where(datasets.c.created_at >= first).order_by(datasets.c.created_at)
    versions = list(connection.execute(made).scalars())
    holder = champion(connection)
    learned = holder is not None and holder["dataset_version"] in versions
    lists = (
        select(placements.c.placement)
        .join(recommendation_batches, recommendation_batches.c.batch_id == placements.c.batch_id)
        .where(recommendation_batches.c.created_at >= first)
        .order_by(placements.c.placement)
    )
    shown = list(connection.execute(lists).scalars())
    version = int(holder["model_version"]) if holder is not None and learned else None
    earlier = version is not None and _has_earlier(connection, versions)
    return Traces(versions, version, shown, _next(_remain(connection, batches), versions, version, earlier, shown))


def _has_earlier(connection: Connection, versions: list[str]) -> bool:
    """Return whether the champion before the present one learned from nothing of this."""
    before = select(promotions.c.dataset_version).order_by(promotions.c.promotion_id.desc()).offset(1).limit(1)
    dataset: Any = connection.execute(before).scalar()
    return dataset is not None and dataset not in versions


def _remain(connection: Connection, batches: list[str]) -> bool:
    """Return whether other batches of events count."""
    entry = ingest_batches.c
    others = (entry.status == COMMITTED, entry.dataset == "events", entry.batch_id.not_in(batches))
    return bool(connection.execute(select(select(entry.batch_id).where(*others).exists())).scalar())


def _next(remain: bool, versions: list[str], version: int | None, earlier: bool, shown: list[str]) -> list[str]:
    """Return the commands that replace what was made from the batches."""
    commands = []
    if version is not None and earlier:
        commands.append('tailorbird rollback model --reason "…"')
    if versions and not remain:
        commands.append("tailorbird ingest SOURCE")
    if versions:
        commands.append("tailorbird features")
    if version is not None:
        commands.append("tailorbird train && tailorbird review")
    if shown and (version is None or earlier):
        commands.append("tailorbird score")
    elif shown:
        commands.append("tailorbird score (after `tailorbird decide`)")
    return commands
