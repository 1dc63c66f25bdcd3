"""Reads from the lake which items are hidden from a user or due again, and how old items are."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models import columns
from models.lists.rules.placement_config import EVER
from tasks.lake.event_engine import EventEngine, shared_event_engine
from tasks.lake.event_query import EventQuery, of_type
from tasks.lake.reference_data import ReferenceData

_BATCH_ROWS: Final = 1_000_000
_DAY: Final = 86_400
_FEWEST: Final = 3
"""The users from which an item's own repurchase gap counts."""
_EVENTS: Final = EventQuery().join_users("users").join_items("items").not_refunded()
_PAIR: Final = 'users.code AS "user", items.code AS item'
_BASKET: Final = "coalesce(event.session_id, event.occurred_at::VARCHAR)"
_LAST, _FIRST = "epoch(max(event.occurred_at))", "epoch(min(event.occurred_at))"
_BOUGHT: Final = EventQuery().where(of_type(columns.PURCHASE)).not_refunded()
_OWN_GAP: Final = f"({_LAST} - {_FIRST}) / nullif(count(DISTINCT {_BASKET}) - 1, 0)"
# As the feature `repurchase_gap_days`: the median over users, so that frequent buyers count no more than others.
_DUE: Final = f"""
    WITH bought AS MATERIALIZED ({
    _BOUGHT.select(
        f"{EventQuery.USER} AS user_key, event.item_id, {_LAST} AS last_at, {_OWN_GAP} AS own_gap", "GROUP BY 1, 2"
    )
}), gaps AS (
        SELECT item_id, median(own_gap) AS item_gap, count(own_gap) AS users FROM bought GROUP BY 1
    )
    SELECT users.code AS "user", items.code AS item
    FROM bought JOIN users USING (user_key) JOIN items USING (item_id) JOIN gaps USING (item_id)
    WHERE $now - last_at >= greatest({_DAY}, coalesce(
        own_gap, CASE WHEN gaps.users >= {_FEWEST} THEN item_gap END, (SELECT median(own_gap) FROM bought), 0))
    ORDER BY 1, 2
"""
_RETURNED: Final = (
    EventQuery()
    .join("LEFT JOIN purchase_states AS state ON state.event_id = event.event_id AND state.until IS NULL")
    .join_users("users")
    .join_items("items")
    .where(of_type(columns.PURCHASE))
    .select(_PAIR, "GROUP BY 1, 2 HAVING max(coalesce(state.share, 1)) = 0")
)
_FIRST_SEEN: Final = EventQuery().select(f"event.item_id, {_FIRST} AS first_at", "GROUP BY 1")


def hidden(
    installation: Installation,
    users: NDArray[np.str_],
    items: NDArray[np.str_],
    windows: Mapping[str, float | str],
    reference: ReferenceData | None = None,
    *,
    returned: bool = False,
) -> Any:
    """Return a boolean CSR, users x items: the pairs with an event of a type within its window of days.

    Windows end at the newest event. Refunded purchases do not count; `returned` adds the pairs whose every purchase was
    refunded. None without windows, refunds or events. Here and below, `reference` saves reading it again.
    """
    if not windows and not returned:
        return None
    with shared_event_engine(installation, reference) as engine:
        if engine is None:
            return None
        within = " OR ".join(
            of_type(name) + ("" if days == EVER else f" AND epoch(event.occurred_at) >= $now - {days} * {_DAY}")
            for name, days in sorted(windows.items())
        )
        pairs = [_EVENTS.where(within).select(f"DISTINCT {_PAIR}")] if windows else []
        pairs += [_RETURNED] if returned and engine.match_refunds().matched else []
        return _pairs(engine, f"{' UNION '.join(pairs)} ORDER BY 1, 2", users, items) if pairs else None


def due(
    installation: Installation, users: NDArray[np.str_], items: NDArray[np.str_], reference: ReferenceData | None = None
) -> Any:
    """Return a boolean CSR, users x items: the items that a user bought and may need again.

    An item is due after the mean time between the user's baskets with it, and at least a day. For an item that the user
    bought once, it is the median of these times over the users who bought it again; without enough of them, over all.
    """
    with shared_event_engine(installation, reference) as engine:
        if engine is None:
            return sparse.csr_array((len(users), len(items)), dtype=bool)
        return _pairs(engine, _DUE, users, items)


def item_ages(
    installation: Installation, items: NDArray[np.str_], reference: ReferenceData | None = None
) -> NDArray[np.float64]:
    """Return [n] days from the first event on each item to the newest event; NaN for items without events."""
    with shared_event_engine(installation, reference) as engine:
        if engine is None:
            return np.full(len(items), np.nan)
        now, first_seen = engine.newest, dict(engine.query(_FIRST_SEEN).fetchall())
    first = np.array([first_seen.get(item, np.nan) for item in items.tolist()], dtype=np.float64)
    days: NDArray[np.float64] = (float(now) - first) / _DAY
    return days


def fully_refunded(
    installation: Installation, items: NDArray[np.str_], reference: ReferenceData | None = None
) -> NDArray[np.bool_]:
    """Return [n] whether each item was bought, and all its purchases were refunded."""
    with shared_event_engine(installation, reference) as engine:
        return np.zeros(len(items), dtype=bool) if engine is None else np.isin(items, engine.fully_refunded)


def _pairs(engine: EventEngine, statement: str, users: NDArray[np.str_], items: NDArray[np.str_]) -> Any:
    """Return the rows of a query, which are ordered by user and item, as CSR."""
    engine.register_codes(users, items)
    engine.match_refunds()
    now = {"now": engine.newest} if "$now" in statement else {}
    counts, chunks = np.zeros(len(users) + 1, dtype=np.int64), []
    for batch in engine.query(statement, **now).to_arrow_reader(_BATCH_ROWS):
        counts[1:] += np.bincount(batch["user"].to_numpy(), minlength=len(users))
        chunks.append(batch["item"].to_numpy().astype(np.int32))
    positions = np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int32)
    pairs = (np.ones(len(positions), dtype=bool), positions, np.cumsum(counts))
    return sparse.csr_array(pairs, shape=(len(users), len(items)))
