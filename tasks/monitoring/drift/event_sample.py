"""Reads the events of a sample of users as numeric columns, for drift detection.

Users are sampled with all their events, never single events, because the events of a user resemble each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.installation import Installation
from infra.overview import situation
from models import columns
from models.errors import TailorbirdError
from models.monitoring.drift.calibration.bands import LENGTHS
from models.monitoring.drift.signals.event_columns import DAY, MISSING_CODE, Events, Ints, ItemTable, gaps, item_vectors
from models.primitives.vocabulary import words
from tasks.lake.event_engine import EventEngine, event_engine
from tasks.lake.event_query import EventQuery, Waiting, waiting_since
from tasks.lake.reference_data import read_reference_data

_PARTS: Final = 10_000
_COUNTED_DAYS: Final = 56
_WITHOUT_REFUNDS: Final = EventQuery().where(f"event.event_type <> '{columns.REFUND}'")
_EVENTS: Final = _WITHOUT_REFUNDS.join_users("users").where(f"event.item_id <> '{columns.WHOLE_ORDER}'")
_AFTER_START, _BEFORE_END = "epoch(event.occurred_at) >= $start", "epoch(event.occurred_at) < $end"
_FIRST: Final = "epoch(min(event.occurred_at))::BIGINT"
_SPAN: Final = _EVENTS.select(f"{_FIRST}, epoch(max(event.occurred_at))::BIGINT")
_ACTIVE_BY_WINDOW: Final = _EVENTS.where(_AFTER_START, _BEFORE_END, "event.event_type <> 'impression'").select(
    "count(DISTINCT users.user_key) AS active", "GROUP BY (epoch(event.occurred_at)::BIGINT - $start) // $length"
)
_ACTIVE: Final = f"SELECT avg(active) FROM ({_ACTIVE_BY_WINDOW})"
_COUNT: Final = _EVENTS.where(_AFTER_START).select("count(*)")
_USER_CODES: Final = """
    CREATE OR REPLACE TABLE sampled_users AS
    SELECT user_key, (row_number() OVER (ORDER BY user_key) - 1)::INTEGER AS code
    FROM users WHERE hash(user_key) % $parts < $part
"""
_ITEM_CODES: Final = f"""
    CREATE OR REPLACE TABLE known_items AS
    SELECT item_id, (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS code, since
    FROM ({_EVENTS.select(f"event.item_id, {_FIRST} AS since", "GROUP BY 1")})
"""
_FIRST_EVENT_OF_USER: Final = f"""
    CREATE OR REPLACE TABLE first_events AS
    {_EVENTS.select(f"users.user_key, {_FIRST} AS since", "GROUP BY 1")}
"""
_ROWS: Final = (
    _WITHOUT_REFUNDS.join_users("sampled_users")
    .join_items("known_items")
    .join("JOIN first_events ON first_events.user_key = sampled_users.user_key")
    .where(_AFTER_START, _BEFORE_END)
    .select(
        f"""
        sampled_users.code AS "user", known_items.code AS item,
        (list_position($kinds, event.event_type) - 1)::TINYINT AS kind,
        epoch(event.occurred_at)::BIGINT AS "at",
        CASE WHEN event.session_id IS NULL THEN {MISSING_CODE}
            ELSE (hash(event.session_id) >> 1)::BIGINT END AS session,
        event.quantity::DOUBLE AS quantity, event.value::DOUBLE AS value, event.currency IS NOT NULL AS currency,
        coalesce(event.position, 0)::SMALLINT AS position, event.recommendation_id IS NOT NULL AS listed,
        first_events.since AS user_since, known_items.since AS item_since""",
        'ORDER BY "at"',
    )
)


_USERS: Final = "SELECT user_key FROM sampled_users ORDER BY code"
_ITEMS: Final = "SELECT item_id, category FROM known_items LEFT JOIN catalogue USING (item_id) ORDER BY code"


@dataclass(frozen=True)
class EventSample:
    """The events of a sample of users."""

    events: Events
    item_table: ItemTable
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    share: float
    """Share of the users that the sample has."""


class EventReader:
    """Reads the lake's events of users with consent. Use `with open_event_reader(installation) as reader`."""

    def __init__(self, engine: EventEngine) -> None:
        self._engine, self._connection = engine, engine.connection

    @cached_property
    def span(self) -> tuple[int, int]:
        """The times of the first and the newest event in epoch seconds; 0 without events."""
        first, last = self._engine.query(_SPAN).fetchall()[0]
        return int(first or 0), int(last or 0)

    def waiting_orders(self, since: int) -> list[Waiting]:
        """Return the items with purchases since a moment (epoch s) that only fresh visitors of pages state."""
        return waiting_since(self._connection, datetime.fromtimestamp(since, UTC))

    def active(self, cut: int) -> dict[int, float]:
        """Return the mean number of active users in the windows right before a cut, by window length in days."""
        start = cut - _COUNTED_DAYS * DAY
        spans = {length: {"start": start, "end": cut, "length": length * DAY} for length in LENGTHS}
        rows = {length: self._engine.query(_ACTIVE, **span).fetchall()[0] for length, span in spans.items()}
        return {length: float(users or 0) for length, (users,) in rows.items()}

    def read(self, start: int, end: int, most: int) -> EventSample:
        """Read the events in [start, end) of as many users as have about `most` events together."""
        ((count,),) = self._engine.query(_COUNT, start=start).fetchall()
        share = min(1.0, most / max(1, count))
        self._connection.execute(_USER_CODES, {"parts": _PARTS, "part": max(1, round(share * _PARTS))})
        for statement in (_ITEM_CODES, _FIRST_EVENT_OF_USER):
            self._connection.execute(statement, {"files": self._engine.files})
        rows = self._engine.query(_ROWS, kinds=list(columns.EVENT_TYPES), start=start, end=end).to_arrow_table()
        users, goods = (self._connection.sql(names).to_arrow_table() for names in (_USERS, _ITEMS))
        items, category = words(goods["item_id"]), words(goods["category"])
        table = ItemTable(_top(category), item_vectors(items, category))
        return EventSample(_events(rows), table, words(users["user_key"]), items, share)


@contextmanager
def open_event_reader(installation: Installation) -> Iterator[EventReader]:
    """Open the lake for the length of the block. Raises TailorbirdError before the first ingest."""
    known = read_reference_data(installation, history=False)
    with event_engine(installation, known) as engine:
        if engine is None:
            raise TailorbirdError(str(situation.step(installation.engine, installation.settings)))
        engine.connection.register("users", known.users.select([columns.USER_KEY]))
        engine.connection.register("catalogue", known.items.select([columns.ITEM_ID, columns.CATEGORY]))
        yield EventReader(engine)


def _events(rows: pa.Table) -> Events:
    columns_by_name = {name: rows[name].to_numpy() for name in rows.column_names}
    whole = {name: columns_by_name[name].astype(np.int64) for name in ("user", "item", "kind", "position")}
    columns_by_name |= whole | {"gap": gaps(whole["user"], whole["item"], columns_by_name["at"], whole["kind"])}
    for name in ("quantity", "value"):
        columns_by_name[name] = rows[name].fill_null(np.nan).to_numpy()
    return Events(**columns_by_name)


def _top(category: NDArray[np.str_]) -> Ints:
    """Return codes of the top-level categories."""
    tops = [path.split(columns.CATEGORY_SEPARATOR)[0] for path in category.tolist()]
    names, codes = np.unique(np.array(tops, dtype=np.str_), return_inverse=True)
    return np.where(names[codes] == "", MISSING_CODE, codes)
