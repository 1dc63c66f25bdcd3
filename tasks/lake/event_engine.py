"""Opens an engine on the events of the lake, and computes once what several queries need.

Only results leave the engine. It spills data that does not fit into its share of memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.installation import Installation
from models import columns
from models.primitives.arrow_sql import texts
from tasks.lake.event_query import EventQuery, of_type, refunded
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.lake.refunds import Refunds, match_refunds

_MEMORY: Final = "1GB"
_NEWEST: Final = EventQuery().select("epoch(max(event.occurred_at))::BIGINT")
_PURCHASES: Final = EventQuery().where(of_type(columns.PURCHASE), "event.item_id IN (SELECT item_id FROM refunded)")
_FULLY_REFUNDED: Final = f"""
    WITH refunded AS MATERIALIZED ({EventQuery().where(refunded()).select("DISTINCT event.item_id")})
    {_PURCHASES.select("event.item_id", f"GROUP BY 1 HAVING bool_and({refunded()})")}
"""


@dataclass
class EventEngine:
    """The events of some files of the lake, with the tables that an `EventQuery` joins."""

    connection: duckdb.DuckDBPyConnection
    files: list[str]
    _refunds: Refunds | None = field(default=None, init=False)

    def query(self, statement: str, **values: object) -> duckdb.DuckDBPyRelation:
        """Return the rows that a query of the files selects."""
        return self.connection.sql(statement, params={"files": self.files} | values)

    def register_codes(self, users: NDArray[np.str_], items: NDArray[np.str_]) -> None:
        """Make the tables `users` and `items`, each with the keys and their positions as `code`."""
        for name, column, keys in (("users", columns.USER_KEY, users), ("items", columns.ITEM_ID, items)):
            codes = np.arange(len(keys), dtype=np.int32)
            self.connection.register(name, pa.table({column: pa.array(keys.tolist(), pa.string()), "code": codes}))

    def match_refunds(self) -> Refunds:
        """Create the table `purchase_states` if it is missing; returns how many refunds match a purchase."""
        if self._refunds is None:
            self._refunds = match_refunds(self.connection, self.files)
        return self._refunds

    @cached_property
    def newest(self) -> int:
        """The time of the newest event (epoch s); 0 if no event counts."""
        return self.query(_NEWEST).fetchall()[0][0] or 0

    @cached_property
    def fully_refunded(self) -> NDArray[np.str_]:
        """The items that were bought, and whose purchases were all refunded."""
        rows = self.query(_FULLY_REFUNDED).fetchall() if self.match_refunds().matched else []
        return np.array([item for (item,) in rows], dtype=np.str_)


@contextmanager
def event_engine(installation: Installation, reference: ReferenceData | None = None) -> Iterator[EventEngine | None]:
    """Open an engine with the devices and batches of `reference`, or the current ones; None without events."""
    files = installation.lake.event_files()
    if not files:
        yield None
        return
    reference = reference or read_reference_data(installation, history=False)
    installation.settings.var.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {texts([str(installation.settings.var / 'spill')])[1:-1]}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        reference.register(connection, files)
        yield EventEngine(connection, files)
