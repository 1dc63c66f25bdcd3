"""Measures realised accuracy: purchases of users while lists were shown to them, for the stored sample of lists."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.installation import Installation
from models.columns import ITEMS, PURCHASE, SHOWN_FROM, SHOWN_UNTIL, USER_KEY
from models.monitoring.realised_accuracy import Actions, K, ShownLists, realised_outcomes
from models.primitives.vocabulary import index_of, words
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import EventQuery, of_type
from tasks.scoring.served_sample import shown_during

CONTROL_DAYS: Final = 28
"""Days before the window over which the best sellers of the control list are counted."""
_DAY: Final = 86_400
_WITHIN: Final = "event.occurred_at >= to_timestamp($start) AND event.occurred_at < to_timestamp($end)"
_EVENTS: Final = EventQuery().where(of_type(PURCHASE), _WITHIN).not_refunded()
_ACTIONS: Final = _EVENTS.join_users("sampled_users").select(
    'sampled_users.code AS "user", event.item_id AS item, epoch(event.occurred_at)::DOUBLE AS at', "ORDER BY 1, 3, 2"
)
_BEST_SELLERS: Final = _EVENTS.select(
    "event.item_id", f"GROUP BY 1 ORDER BY count(DISTINCT {EventQuery.USER}) DESC, 1 LIMIT {K}"
)
_NO_ACTIONS: Final = pa.Table.from_batches([], pa.schema({"user": pa.int64(), "item": pa.string(), "at": pa.float64()}))


def realised_accuracy(installation: Installation, start: float, end: float, placement: str = "home") -> pa.Table | None:
    """Return how well the lists of a placement predicted the purchases of users in [start, end), epoch seconds.

    One row per user of the sample who was shown a list and still has consent: `user_key` and the columns of
    `models.monitoring.realised_accuracy.UserOutcomes`. The control list has the items with the most users in the four
    weeks before the first list. Refunded purchases do not count. None if no list was shown.
    """
    with installation.engine.connect() as connection:
        lists = shown_during(connection, placement, start, end)
    if not lists.num_rows:
        return None
    keys = np.unique(words(lists[USER_KEY]))
    actions, control = _actions_and_control(installation, keys, float(pc.min(lists[SHOWN_FROM]).as_py()), end)
    named = {*pc.list_flatten(lists[ITEMS]).to_pylist(), *actions["item"].to_pylist(), *control}
    ids = np.array(sorted(named), dtype=np.str_)
    user, items = index_of(keys, lists[USER_KEY]).astype(np.int64), first_items(lists, ids)
    longest = int((items >= 0).sum(axis=1).max())
    shown = ShownLists(user, items[:, :longest], lists[SHOWN_FROM].to_numpy(), lists[SHOWN_UNTIL].to_numpy())
    actor, item = actions["user"].to_numpy().astype(np.int64), index_of(ids, actions["item"]).astype(np.int64)
    acts = Actions(actor, item, actions["at"].to_numpy())
    outcomes = realised_outcomes(shown, acts, index_of(ids, pa.array(control, pa.string())).astype(np.int64))
    return pa.table({USER_KEY: pa.array(keys.tolist(), pa.string()), **outcomes._asdict()})


def _actions_and_control(
    installation: Installation, keys: NDArray[np.str_], start: float, end: float
) -> tuple[pa.Table, list[str]]:
    """Return the purchases of these users in the window, and the control list."""
    with event_engine(installation) as engine:
        if engine is None:
            return _NO_ACTIONS, []
        sampled_users = {USER_KEY: pa.array(keys.tolist(), pa.string()), "code": np.arange(len(keys))}
        engine.connection.register("sampled_users", pa.table(sampled_users))
        engine.match_refunds()
        control = engine.query(_BEST_SELLERS, start=start - CONTROL_DAYS * _DAY, end=start).fetchall()
        actions = engine.query(_ACTIONS, start=start, end=end).to_arrow_table()
    return actions, [item for (item,) in control]


def first_items(lists: pa.Table, ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return [m, K] the positions among `ids` of the first items of lists, -1 in places without one."""
    rows = [row[:K] for row in lists[ITEMS].to_pylist()]
    items = np.full((len(rows), K), -1, dtype=np.int64)
    filled = np.arange(K) < np.array([len(row) for row in rows])[:, None]
    items[filled] = index_of(ids, pa.array([item for row in rows for item in row], pa.string()))
    return items
