"""Reads from the lake what lists depend on: what is hidden from whom or due again, and how long items are around."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models import columns
from models.lists.rules.rule_config import EVER
from tasks.lake.event_engine import EventEngine
from tasks.lake.event_sql import OWNER, SAID
from tasks.lake.reference_data import ReferenceData
from tasks.lake.refunds import LASTED
from tasks.lake.shared_reads import shared_event_engine

_BATCH_ROWS: Final = 1_000_000
_DAY: Final = 86_400
_DONE: Final = f"""
    FROM {SAID}
    JOIN people ON people.user_key = {OWNER}
    JOIN goods ON goods.item_id = said.item_id
    WHERE ({{which}}) AND {LASTED}
"""
_HIDDEN: Final = f'SELECT DISTINCT people.code AS "user", goods.code AS item {_DONE} ORDER BY 1, 2'
_BASKET: Final = "coalesce(said.session_id, occurred_at::VARCHAR)"
_DUE: Final = f"""
    SELECT people.code AS "user", goods.code AS item {_DONE} GROUP BY 1, 2
    HAVING count(DISTINCT {_BASKET}) = 1 OR $now - epoch(max(occurred_at)) >= greatest(
        {_DAY}, (epoch(max(occurred_at)) - epoch(min(occurred_at))) / (count(DISTINCT {_BASKET}) - 1))
    ORDER BY 1, 2
"""
_FIRST_SEEN: Final = f"SELECT said.item_id, epoch(min(occurred_at)) AS first_at FROM {SAID} GROUP BY 1"


def hidden(
    installation: Installation,
    users: NDArray[np.str_],
    items: NDArray[np.str_],
    windows: Mapping[str, float | str],
    known: ReferenceData | None = None,
) -> Any:
    """Boolean CSR, users x items: what a user did to an item, by the type of event, in so many days up to the newest
    event there is, or ever. None without windows or events. Purchases that were taken back did not happen.

    Here and below, `known` saves reading it again.
    """
    if not windows:
        return None
    with shared_event_engine(installation, known) as engine:
        if engine is None:
            return None
        which = " OR ".join(
            f"event_type = '{name}'" + ("" if days == EVER else f" AND epoch(occurred_at) >= $now - {days} * {_DAY}")
            for name, days in sorted(windows.items())
        )
        return _pairs(engine, _HIDDEN.format(which=which), users, items)


def due(
    installation: Installation, users: NDArray[np.str_], items: NDArray[np.str_], known: ReferenceData | None = None
) -> Any:
    """Boolean CSR, users x items: what was bought, and not so lately that it is not needed yet.

    It is due when as much time has passed as usually lies between two of the user's baskets with it, at least a day;
    what was bought once has no usual time between, and is due.
    """
    with shared_event_engine(installation, known) as engine:
        if engine is None:
            return sparse.csr_array((len(users), len(items)), dtype=bool)
        bought = f"event_type = '{columns.PURCHASE}'"
        return _pairs(engine, _DUE.format(which=bought), users, items)


def item_ages(installation: Installation, items: NDArray[np.str_], known: ReferenceData | None = None) -> NDArray[np.float64]:
    """[n] days from the first event on each item to the newest event there is; NaN for items without one."""
    with shared_event_engine(installation, known) as engine:
        if engine is None:
            return np.full(len(items), np.nan)
        now, seen = engine.newest, dict(engine.query(_FIRST_SEEN).fetchall())
    first = np.array([seen.get(item, np.nan) for item in items.tolist()], dtype=np.float64)
    days: NDArray[np.float64] = (float(now) - first) / _DAY
    return days


def fully_refunded(installation: Installation, items: NDArray[np.str_], known: ReferenceData | None = None) -> NDArray[np.bool_]:
    """[n] which of the items were bought, and every purchase of them was taken back."""
    with shared_event_engine(installation, known) as engine:
        return np.zeros(len(items), dtype=bool) if engine is None else np.isin(items, engine.fully_refunded)


def _pairs(engine: EventEngine, statement: str, users: NDArray[np.str_], items: NDArray[np.str_]) -> Any:
    """What a query gives in order of user and item, as CSR."""
    for name, column, words in (("people", "user_key", users), ("goods", "item_id", items)):
        codes = np.arange(len(words), dtype=np.int32)
        engine.connection.register(name, pa.table({column: pa.array(words.tolist(), pa.string()), "code": codes}))
    engine.match_refunds()
    now = {"now": engine.newest} if "$now" in statement else {}
    counts, item = np.zeros(len(users) + 1, dtype=np.int64), []
    for batch in engine.query(statement, **now).to_arrow_reader(_BATCH_ROWS):
        counts[1:] += np.bincount(batch["user"].to_numpy(), minlength=len(users))
        item.append(batch["item"].to_numpy().astype(np.int32))
    whole = np.concatenate(item) if item else np.empty(0, dtype=np.int32)
    pairs = (np.ones(len(whole), dtype=bool), whole, np.cumsum(counts))
    return sparse.csr_array(pairs, shape=(len(users), len(items)))
