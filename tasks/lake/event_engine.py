"""Opens an engine on the events of the lake, and works out once what several questions about them need.

Only answers come out of the engine, which spills what does not fit into its share of memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from infra.installation import Installation
from models import columns
from models.primitives.arrow_sql import texts
from tasks.lake.event_sql import SAID
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.lake.refunds import LASTED, Refunds, match_refunds

_MEMORY: Final = "1GB"
_NEWEST: Final = f"SELECT epoch(max(occurred_at))::BIGINT FROM {SAID}"
_NOBODY_KEPT: Final = f"""
    WITH refunded AS MATERIALIZED (SELECT DISTINCT said.item_id FROM {SAID} WHERE NOT {LASTED})
    SELECT said.item_id FROM {SAID}
    WHERE event_type = '{columns.PURCHASE}' AND said.item_id IN (SELECT item_id FROM refunded)
    GROUP BY 1 HAVING NOT bool_or({LASTED})
"""


@dataclass
class EventEngine:
    """The events of some files of the lake. Its connection knows devices and batches, for `tasks.lake.event_sql`."""

    connection: duckdb.DuckDBPyConnection
    files: list[str]
    _refunds: Refunds | None = field(default=None, init=False)

    def query(self, statement: str, **values: Any) -> duckdb.DuckDBPyRelation:
        """Return what a query of the files selects."""
        return self.connection.sql(statement, params={"files": self.files} | values)

    def match_refunds(self) -> Refunds:
        """Make the table `purchase_states`, unless it is there; return how many refunds found their purchase."""
        if self._refunds is None:
            self._refunds = match_refunds(self.connection, self.files)
        return self._refunds

    @cached_property
    def newest(self) -> int:
        """The time of the newest event (epoch s); 0 without one that counts."""
        return self.query(_NEWEST).fetchall()[0][0] or 0

    @cached_property
    def fully_refunded(self) -> NDArray[np.str_]:
        """The items that were bought, and of which every purchase was taken back."""
        found = self.query(_NOBODY_KEPT).fetchall() if self.match_refunds().matched else []
        return np.array([item for (item,) in found], dtype=np.str_)


@contextmanager
def event_engine(installation: Installation, known: ReferenceData | None = None) -> Iterator[EventEngine | None]:
    """Open an engine that knows devices and batches, of `known` or as they stand; None without events."""
    files = installation.lake.event_files()
    if not files:
        yield None
        return
    known = known or read_reference_data(installation, history=False)
    installation.settings.var.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {texts([str(installation.settings.var / 'spill')])[1:-1]}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        known.register(connection)
        yield EventEngine(connection, files)
