"""Keeps a sample of what was shown: batches are dropped soon, and what was bought is held against lists later.

A showing lasts from one move of a placement's pointer to the next. The same people are followed from batch to batch.
"""

from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, insert, text

from infra.database.schema.monitoring_schema import publication_periods
from models.columns import ITEMS, SHOWN_FROM, SHOWN_UNTIL, USER_KEY
from tasks.scoring.partitions import part
from tasks.scoring.reads.consent_filter import AGREED

SAMPLE: Final = 2_000
"""Most users of a placement whose lists are kept: those whose keys have the smallest hashes."""
RETENTION_DAYS: Final = 180
"""How long after it was replaced."""
_COPY: Final = """
    INSERT INTO published_lists (period_id, subject, items)
    -- PostgreSQL keeps the first so many while it reads, and sorts nothing else.
    WITH sampled AS MATERIALIZED (
        SELECT subject, items FROM {lists} ORDER BY hashtextextended(subject, 0), subject LIMIT :most)
    SELECT :showing, subject, array_agg(item_id ORDER BY place)
    FROM sampled, unnest(items) WITH ORDINALITY AS entry (item_code, place) JOIN {words} USING (item_code)
    GROUP BY subject
"""
_SPANS: Final = """
    SELECT period_id, batch_id, published_at,
        lead(published_at, 1, 'infinity') OVER (PARTITION BY placement ORDER BY published_at, period_id) AS replaced_at
    FROM publication_periods
"""
_OLD: Final = f"""
    DELETE FROM publication_periods AS period USING ({_SPANS}) AS span WHERE span.period_id = period.period_id
    AND placement = :placement AND replaced_at < now() - make_interval(days => :days)
"""
_GONE: Final = f"""
    DELETE FROM published_lists AS shelf USING publication_periods AS period WHERE period.period_id = shelf.period_id
    AND placement = :placement AND NOT EXISTS ({AGREED})
"""
_IN_WINDOW: Final = f"""
    FROM ({_SPANS} WHERE placement = :placement) AS span
    WHERE published_at < to_timestamp(:end) AND replaced_at > to_timestamp(:start)
"""
_SHOWN: Final = f"""
    SELECT subject, items, greatest(extract(epoch FROM published_at), :start)::float AS shown_from,
        least(extract(epoch FROM replaced_at), :end)::float AS shown_until
    FROM (SELECT period_id, published_at, replaced_at {_IN_WINDOW}) AS span
    JOIN published_lists AS shelf USING (period_id)
    WHERE EXISTS ({AGREED}) ORDER BY subject, published_at
"""
_VERSIONS: Final = f"""
    SELECT DISTINCT model_version FROM (SELECT batch_id {_IN_WINDOW}) AS span
    JOIN recommendation_batches USING (batch_id) ORDER BY model_version
"""
_KINDS: Final = {
    USER_KEY: pa.string(),
    ITEMS: pa.list_(pa.string()),
    SHOWN_FROM: pa.float64(),
    SHOWN_UNTIL: pa.float64(),
}


def keep(connection: Connection, placement: str, batch_id: int, about: str) -> None:
    """Write down that a batch is shown from now on, and to a sample of users what; call it where the pointer moves.

    Lists about items are nobody's, and only end what was shown to users there before.
    """
    period = insert(publication_periods).values(placement=placement, batch_id=batch_id)
    entered = period.returning(publication_periods.c.period_id)
    showing = connection.execute(entered).scalar_one()
    forget(connection, placement)
    if about == "user":
        names = {"lists": part("recommendations", batch_id), "words": part("batch_items", batch_id)}
        connection.execute(text(_COPY.format(**names)), {"showing": showing, "most": SAMPLE})


def forget(connection: Connection, placement: str) -> None:
    """Drop what was replaced long ago, and all lists of people who withdrew consent or were suppressed.

    Call under the placement's lock.
    """
    connection.execute(text(_OLD), {"placement": placement, "days": RETENTION_DAYS})
    connection.execute(text(_GONE), {"placement": placement})


def shown_during(connection: Connection, placement: str, start: float, end: float) -> pa.Table:
    """Which lists the sampled users of a placement had in [start, end), epoch seconds.

    Columns: user_key; items, best first; shown_from and shown_until, epoch seconds within the window, when the list
    came and when the next took its place. A user has a row for each list, in order of time; who has withdrawn consent
    since then has none.
    """
    asked = {"placement": placement, "start": start, "end": end}
    rows: list[dict[str, Any]] = [dict(row) for row in connection.execute(text(_SHOWN), asked).mappings()]
    values = ([row["subject" if name == USER_KEY else name] for row in rows] for name in _KINDS)
    return pa.table([pa.array(v, kind) for v, kind in zip(values, _KINDS.values(), strict=True)], names=list(_KINDS))


def models_during(connection: Connection, placement: str, start: float, end: float) -> list[int]:
    """The versions of the models whose lists were shown in that window, sorted."""
    asked = {"placement": placement, "start": start, "end": end}
    return list(connection.execute(text(_VERSIONS), asked).scalars())
