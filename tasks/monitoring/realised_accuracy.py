"""Measures realised accuracy: purchases of users while lists were shown to them, for the stored sample of lists."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.installation import Installation
from models.columns import ITEMS, PURCHASE, SHOWN_FROM, SHOWN_UNTIL, USER_KEY
from models.monitoring.realised_accuracy import Actions, K, ShownLists, realised_outcomes
from models.primitives.arrow_sql import texts
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import EventQuery
from tasks.scoring.served_sample import shown_during

CONTROL_DAYS: Final = 28
"""Days before the window over which the best sellers of the control list are counted."""
_DAY: Final = 86_400
_WITHIN: Final = "event.occurred_at >= to_timestamp($start) AND event.occurred_at < to_timestamp($end)"
_EVENTS: Final = EventQuery().where("event.event_type IN {kinds}", _WITHIN).not_refunded()
_ACTIONS: Final = _EVENTS.join_users("sampled_users").select(
    'sampled_users.code AS "user", event.item_id AS item, epoch(event.occurred_at)::DOUBLE AS at', "ORDER BY 1, 3, 2"
)
_BEST_SELLERS: Final = _EVENTS.select(
    "event.item_id", f"GROUP BY 1 ORDER BY count(DISTINCT {EventQuery.USER}) DESC, 1 LIMIT {K}"
)
_NO_ACTIONS: Final = pa.Table.from_batches([], pa.schema({"user": pa.int64(), "item": pa.string(), "at": pa.float64()}))


def realised_accuracy(
    installation: Installation, start: float, end: float, placement: str = "home", kinds: Sequence[str] = (PURCHASE,)
) -> pa.Table | None:
    """Return how well the lists of a placement predicted the actions of users in [start, end), epoch seconds.

    One row per user of the sample who was shown a list and still has consent: `user_key` and the columns of
    `models.monitoring.realised_accuracy.UserOutcomes`. The control list has the items with the most users in the four
    weeks before the first list. `kinds` are the event types that count; refunded purchases do not. None if no list was
    shown.
    """
    with installation.engine.connect() as connection:
        lists = shown_during(connection, placement, start, end)
    if not lists.num_rows:
        return None
    keys = np.unique(lists[USER_KEY].to_numpy(zero_copy_only=False).astype(np.str_))
    actions, control = _actions_and_control(installation, keys, kinds, float(pc.min(lists[SHOWN_FROM]).as_py()), end)
    item_ids = sorted(
        {item for row in lists[ITEMS].to_pylist() for item in row} | {*actions["item"].to_pylist(), *control}
    )
    code = {item: at for at, item in enumerate(item_ids)}
    outcomes = realised_outcomes(
        _shown(lists, keys, code), _to_actions(actions, code), np.array([code[i] for i in control], dtype=np.int64)
    )
    return pa.table({USER_KEY: pa.array(keys.tolist(), pa.string()), **outcomes._asdict()})


def _actions_and_control(
    installation: Installation, keys: NDArray[np.str_], kinds: Sequence[str], start: float, end: float
) -> tuple[pa.Table, list[str]]:
    """Return the actions of these users in the window, and the control list."""
    with event_engine(installation) as engine:
        if engine is None:
            return _NO_ACTIONS, []
        sampled_users = {USER_KEY: pa.array(keys.tolist(), pa.string()), "code": np.arange(len(keys))}
        engine.connection.register("sampled_users", pa.table(sampled_users))
        engine.match_refunds()
        event_types = f"({texts(list(kinds))[1:-1]})"
        control = engine.query(
            _BEST_SELLERS.format(kinds=event_types), start=start - CONTROL_DAYS * _DAY, end=start
        ).fetchall()
        actions = engine.query(_ACTIONS.format(kinds=event_types), start=start, end=end).to_arrow_table()
    return actions, [item for (item,) in control]


def _shown(lists: pa.Table, keys: NDArray[np.str_], code: Mapping[str, int]) -> ShownLists:
    rows: Any = lists[ITEMS].to_pylist()
    k = min(K, max(map(len, rows)))
    items = np.full((len(rows), k), -1, dtype=np.int64)
    for place, row in enumerate(rows):
        items[place, : len(row[:k])] = [code[item] for item in row[:k]]
    user = np.searchsorted(keys, lists[USER_KEY].to_numpy(zero_copy_only=False).astype(np.str_))
    return ShownLists(user, items, lists[SHOWN_FROM].to_numpy(), lists[SHOWN_UNTIL].to_numpy())


def _to_actions(actions: pa.Table, code: Mapping[str, int]) -> Actions:
    item = np.array([code[item] for item in actions["item"].to_pylist()], dtype=np.int64)
    return Actions(actions["user"].to_numpy().astype(np.int64), item, actions["at"].to_numpy().astype(np.float64))
