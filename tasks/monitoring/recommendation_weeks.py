"""Counts what recommendations earned, week by week: the figures of the operator page."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from prefect import task
from sqlalchemy import delete, func, insert, select

from infra.configuration.placements import configured
from infra.configuration.retention import seconds
from infra.database.engine import database_now
from infra.database.schema.monitoring_schema import recommendation_weeks as table
from infra.installation import Installation, current
from infra.locks import locked
from models import columns
from tasks.lake.event_engine import EventEngine, event_engine
from tasks.lake.event_query import EventQuery, of_type

FIRST_WEEKS: Final = 26
"""Weeks that the first run counts."""
AGAIN_WEEKS: Final = 4
"""Weeks before the last stored one that each run counts again, for events that come late."""
_WEEK: Final = timedelta(weeks=1)
_OF_LISTS: Final = (
    f"event.{columns.RECOMMENDATION_ID} IS NOT NULL AND event.event_type IN ('impression', 'click', 'view', 'consume')"
)
_ACTS: Final = (
    EventQuery()
    .join("LEFT JOIN purchase_states AS state ON state.event_id = event.event_id AND state.until IS NULL")
    .where(
        f"{_OF_LISTS} OR {of_type('add_to_cart')} OR {of_type(columns.PURCHASE)} AND coalesce(state.share, 1) > 0",
        "event.occurred_at >= $start::TIMESTAMPTZ - INTERVAL 2 DAY",
    )
    .select(
        f"{EventQuery.USER} AS person, event.item_id AS item, event.recommendation_id AS list, event.placement, "
        "event.event_type AS kind, event.occurred_at AS moment, event.currency, "
        "event.value * coalesce(state.share, 1) AS value"
    )
)
_STATEMENT: Final = Path(__file__).with_suffix(".sql")
_OF_USERS: Final = ("clicked", "shown", "variance_clicked", "variance_shown", "covariance")


@task(description="Count what recommendations earned in the last weeks, for the operator page.")
def count_weeks() -> int:
    """Store the figures of each week that is new, and of the weeks before it again; return the number of weeks."""
    installation = current()
    with locked(installation.engine, "recommendation weeks", wait=True), event_engine(installation) as engine:
        if engine is None or not engine.newest:
            return 0
        start = _start(installation, _monday(datetime.fromtimestamp(engine.newest, UTC).date()))
        rows = counted(engine, start, list(configured(installation.settings)))
        with installation.engine.begin() as connection:
            connection.execute(delete(table).where(table.c.week >= start))
            if rows:
                connection.execute(insert(table), rows)
    return len({row["week"] for row in rows})


def counted(engine: EventEngine, start: date, placements: list[str]) -> list[dict[str, Any]]:
    """Return the rows of the table from a Monday on: of each of these placements, and of all together."""
    engine.match_refunds()
    statement = _STATEMENT.read_text().replace("{acts}", _ACTS)
    found = engine.query(statement, start=start, placements=placements)
    return list(map(_row, found.to_arrow_table().to_pylist()))


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the interval of its click-through, which needs several users, and a click."""
    from models.experiments.estimates import Moments  # SciPy loads slowly, and few steps need it

    clicked, shown, *spread = (found.pop(name) for name in _OF_USERS)
    if found["users"] < 2 or not clicked:
        return found | {"click_through": clicked / shown if shown else None, "low": None, "high": None}
    covariance = np.zeros((4, 4))
    covariance[:2, :2] = np.array([[spread[0], spread[2]], [spread[2], spread[1]]])
    moments = Moments(found["users"], np.array([clicked, shown, 0.0, 1.0]), covariance)
    low, high = moments.bounds
    return found | {"click_through": moments.ratio, "low": max(low, 0.0), "high": min(high, 1.0)}


def _start(installation: Installation, newest: date) -> date:
    """Return the first Monday to count from. Weeks whose events end by themselves keep their figures."""
    retention = installation.settings.retention
    kept = min(seconds(retention.impressions), seconds(retention.events))
    with installation.engine.connect() as connection:
        last = connection.scalar(select(func.max(table.c.week)))
        whole = _monday((database_now(connection) - timedelta(seconds=kept)).date()) + _WEEK
    wanted = newest - FIRST_WEEKS * _WEEK if last is None else min(last, newest) - AGAIN_WEEKS * _WEEK
    return max(wanted, whole)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
