"""Reads from the lake what lists depend on: what is hidden from whom or due again, and how long items are around.

Only pairs come out of the engine, which spills what does not fit into its share of memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models import columns
from models.placement_rules import EVER
from models.sql import texts
from tasks.dataset_events import Known
from tasks.dataset_known import known_now
from tasks.lake_sql import OWNER, SAID
from tasks.refunds import LASTED, match_refunds

_MEMORY: Final = "1GB"
_BATCH_ROWS: Final = 1_000_000
_DAY: Final = 86_400
NEWEST: Final = f"SELECT epoch(max(occurred_at))::BIGINT FROM {SAID}"
"""SQL: the time of the newest event."""
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
_NOBODY_KEPT: Final = f"""
    SELECT said.item_id FROM {SAID}
    WHERE event_type = '{columns.PURCHASE}' AND said.item_id IN (SELECT item_id FROM refunded)
    GROUP BY 1 HAVING NOT bool_or({LASTED})
"""
_REFUNDED: Final = f"CREATE TABLE refunded AS SELECT DISTINCT said.item_id FROM {SAID} WHERE NOT {LASTED}"
_FIRST_SEEN: Final = f"SELECT said.item_id, epoch(min(occurred_at)) AS first_at FROM {SAID} GROUP BY 1"


def hidden(
    here: Installation,
    users: NDArray[np.str_],
    items: NDArray[np.str_],
    windows: Mapping[str, float | str],
    known: Known | None = None,
) -> Any:
    """Boolean CSR, users x items: what a user did to an item, by the type of event, in so many days up to the newest
    event there is, or ever. None without windows or events. Purchases that were taken back did not happen.

    Here and below, `known` saves reading it again.
    """
    with lake_engine(here, bool(windows), known) as connection:
        if connection is None:
            return None
        which = " OR ".join(
            f"event_type = '{name}'" + ("" if days == EVER else f" AND epoch(occurred_at) >= $now - {days} * {_DAY}")
            for name, days in sorted(windows.items())
        )
        return _pairs(connection, here, _HIDDEN.format(which=which), users, items)


def due(here: Installation, users: NDArray[np.str_], items: NDArray[np.str_], known: Known | None = None) -> Any:
    """Boolean CSR, users x items: what was bought, and not so lately that it is not needed yet.

    It is due when as much time has passed as usually lies between two of the user's baskets with it, at least a day;
    what was bought once has no usual time between, and is due.
    """
    with lake_engine(here, True, known) as connection:
        if connection is None:
            return sparse.csr_array((len(users), len(items)), dtype=bool)
        bought = f"event_type = '{columns.PURCHASE}'"
        return _pairs(connection, here, _DUE.format(which=bought), users, items)


def ages(here: Installation, items: NDArray[np.str_], known: Known | None = None) -> NDArray[np.float64]:
    """[n] days from the first event on each item to the newest event there is; NaN for items without one."""
    with lake_engine(here, True, known) as connection:
        if connection is None:
            return np.full(len(items), np.nan)
        files = {"files": here.lake.event_files()}
        now = connection.sql(NEWEST, params=files).fetchall()[0][0]
        seen = dict(connection.sql(_FIRST_SEEN, params=files).fetchall())
    first = np.array([seen.get(item, np.nan) for item in items.tolist()], dtype=np.float64)
    days: NDArray[np.float64] = (float(now or 0) - first) / _DAY
    return days


def nobody_kept(here: Installation, items: NDArray[np.str_], known: Known | None = None) -> NDArray[np.bool_]:
    """[n] which of the items were bought, and every purchase of them was taken back."""
    with lake_engine(here, True, known) as connection:
        if connection is None:
            return np.zeros(len(items), dtype=bool)
        files = here.lake.event_files()
        if not match_refunds(connection, files).matched:
            return np.zeros(len(items), dtype=bool)
        connection.execute(_REFUNDED, {"files": files})
        found = connection.sql(_NOBODY_KEPT, params={"files": files}).fetchall()
    return np.isin(items, np.array([item for (item,) in found], dtype=np.str_))


def _pairs(
    connection: Any, here: Installation, statement: str, users: NDArray[np.str_], items: NDArray[np.str_]
) -> Any:
    """What a query gives in order of user and item, as CSR."""
    for name, column, words in (("people", "user_key", users), ("goods", "item_id", items)):
        codes = np.arange(len(words), dtype=np.int32)
        connection.register(name, pa.table({column: pa.array(words.tolist(), pa.string()), "code": codes}))
    ask: dict[str, Any] = {"files": here.lake.event_files()}
    match_refunds(connection, ask["files"])
    if "$now" in statement:
        ask["now"] = connection.sql(NEWEST, params=ask).fetchall()[0][0] or 0
    counts, item = np.zeros(len(users) + 1, dtype=np.int64), []
    for batch in connection.sql(statement, params=ask).to_arrow_reader(_BATCH_ROWS):
        counts[1:] += np.bincount(batch["user"].to_numpy(), minlength=len(users))
        item.append(batch["item"].to_numpy().astype(np.int32))
    whole = np.concatenate(item) if item else np.empty(0, dtype=np.int32)
    pairs = (np.ones(len(whole), dtype=bool), whole, np.cumsum(counts))
    return sparse.csr_array(pairs, shape=(len(users), len(items)))


@contextmanager
def lake_engine(here: Installation, wanted: bool = True, known: Known | None = None) -> Iterator[Any]:
    """An engine that knows devices and batches, of `known` or as they stand; None without events to ask about."""
    if not wanted or not here.lake.event_files():
        yield None
        return
    known = known or known_now(here, history=False)
    here.settings.var.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {texts([str(here.settings.var / 'spill')])[1:-1]}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        known.register(connection)
        yield connection
