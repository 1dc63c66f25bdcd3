"""Keeps a sample of the served lists: batches are dropped soon, and purchases are compared with lists later.

A publication period lasts from one move of a placement's pointer to the next. The sampled users stay the same from
batch to batch.
"""

from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, insert, text

from infra.configuration.settings import load
from infra.database.schema.monitoring_schema import publication_periods
from models.columns import ITEMS, SHOWN_FROM, SHOWN_UNTIL, USER_KEY
from tasks.scoring.partitions import partition_name

CONSENT_SQL: Final = """
    SELECT FROM users WHERE users.user_key = list.subject AND users.consent
    AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = list.subject)
"""
"""SQL for `EXISTS`: a row if the user of `list` has consented and is not suppressed."""
SAMPLE: Final = 2_000
"""Users of a placement whose lists are kept, at most: those whose keys have the smallest hashes."""
_COPY: Final = """
    INSERT INTO published_lists (period_id, subject, items)
    -- PostgreSQL keeps only the smallest hashes while it reads, and sorts no other rows.
    WITH sampled AS MATERIALIZED (
        SELECT subject, items FROM {lists} ORDER BY hashtextextended(subject, 0), subject LIMIT :most)
    SELECT :period, subject, array_agg(item_id ORDER BY place)
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
    AND placement = :placement AND replaced_at < now() - CAST(NULLIF(:kept, '') AS interval)
"""
_WITHOUT_CONSENT: Final = f"""
    DELETE FROM published_lists AS list USING publication_periods AS period WHERE period.period_id = list.period_id
    AND placement = :placement AND NOT EXISTS ({CONSENT_SQL})
"""
_IN_WINDOW: Final = f"""
    FROM ({_SPANS} WHERE placement = :placement) AS span
    WHERE published_at < to_timestamp(:end) AND replaced_at > to_timestamp(:start)
"""
_SHOWN: Final = f"""
    SELECT subject, items, greatest(extract(epoch FROM published_at), :start)::float AS shown_from,
        least(extract(epoch FROM replaced_at), :end)::float AS shown_until
    FROM (SELECT period_id, published_at, replaced_at {_IN_WINDOW}) AS span
    JOIN published_lists AS list USING (period_id)
    WHERE EXISTS ({CONSENT_SQL}) ORDER BY subject, published_at
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


def record_served_lists(connection: Connection, placement: str, batch_id: int, subject_kind: str) -> None:
    """Record that a batch is shown from now on, with the lists of a sample of users. Call it when the pointer moves.

    Lists about items belong to no user: they only end the period before.
    """
    period = insert(publication_periods).values(placement=placement, batch_id=batch_id)
    period_id = connection.execute(period.returning(publication_periods.c.period_id)).scalar_one()
    delete_expired(connection, placement)
    if subject_kind == "user":
        names = {"lists": partition_name("recommendations", batch_id), "words": partition_name("batch_items", batch_id)}
        connection.execute(text(_COPY.format(**names)), {"period": period_id, "most": SAMPLE})


def delete_expired(connection: Connection, placement: str) -> None:
    """Delete lists replaced long ago, and all lists of users who withdrew consent or were suppressed.

    Call under the placement's lock.
    """
    connection.execute(text(_OLD), {"placement": placement, "kept": load().retention.served_lists})
    connection.execute(text(_WITHOUT_CONSENT), {"placement": placement})


def shown_during(connection: Connection, placement: str, start: float, end: float) -> pa.Table:
    """Return the lists that the sampled users of a placement had in [start, end), epoch seconds.

    Columns: user_key; items, best first; shown_from and shown_until, the epoch seconds within the window between which
    the list was shown. A user has a row for each list, in order of time; users who have withdrawn consent since then
    have none.
    """
    window = {"placement": placement, "start": start, "end": end}
    rows = connection.execute(text(_SHOWN), window).mappings().all()
    values = ([row["subject" if name == USER_KEY else name] for row in rows] for name in _KINDS)
    return pa.table([pa.array(v, kind) for v, kind in zip(values, _KINDS.values(), strict=True)], names=list(_KINDS))


def models_during(connection: Connection, placement: str, start: float, end: float) -> list[int]:
    """Return the versions of the models whose lists were shown in that window, sorted."""
    window = {"placement": placement, "start": start, "end": end}
    return list(connection.execute(text(_VERSIONS), window).scalars())
