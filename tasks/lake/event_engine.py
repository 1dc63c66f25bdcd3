"""Opens an engine on the events of the lake, and computes once what several queries need.

Only results leave the engine. It spills data that does not fit into its share of memory. The placements of a run share
the data that they are decided from, until one of them builds lists: a run with nothing new reads all data once.
Building lists takes long, so the next placement reads again.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar, cast

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.installation import Installation
from models import columns
from models.primitives.arrow_sql import literal
from tasks.lake.event_query import EventQuery, Refunds, match_refunds, of_type, refunded
from tasks.lake.reference_data import ReferenceData, read_reference_data

T = TypeVar("T")
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
        connection.execute(f"SET temp_directory = {literal(str(installation.settings.var / 'spill'))}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        reference.register(connection, files)
        yield EventEngine(connection, files)


class _Reads:
    """Data read at one moment, which `reference` identifies."""

    def __init__(self) -> None:
        self.reference: ReferenceData | None = None
        self.stack = ExitStack()
        self._results: dict[Hashable, Any] = {}

    def read_once(self, key: Hashable, read: Callable[[], T]) -> T:
        if key not in self._results:
            self._results[key] = read()
        return cast(T, self._results[key])

    def release_shared_reads(self) -> None:
        self.reference = None
        self._results.clear()
        self.stack.close()


_READS: Final[ContextVar[_Reads | None]] = ContextVar("reads of a run", default=None)


@contextmanager
def shared_reads() -> Iterator[None]:
    """Within the block, keep the results of the functions below until `release_shared_reads`."""
    reads = _Reads()
    outer = _READS.set(reads)
    try:
        yield
    finally:
        _READS.reset(outer)
        reads.release_shared_reads()


def release_shared_reads() -> None:
    """Discard the results, and free their memory."""
    if reads := _READS.get():
        reads.release_shared_reads()


def shared_reference_data(installation: Installation) -> ReferenceData:
    """Return reference data without history: the run's, or else the current data."""
    reads = _READS.get()
    if reads is None:
        return read_reference_data(installation, history=False)
    if reads.reference is None:
        reads.reference = read_reference_data(installation, history=False)
    return reads.reference


def read_once(reference: ReferenceData, key: Hashable, read: Callable[[], T]) -> T:
    """Return the earlier result of `read` for the key if the run shares `reference`, or else a new one."""
    reads = _reads_of(reference)
    return reads.read_once(key, read) if reads else read()


@contextmanager
def shared_event_engine(installation: Installation, reference: ReferenceData | None) -> Iterator[EventEngine | None]:
    """Open an engine on the events: the run's, if the run shares `reference`. None without events."""
    reads = _reads_of(reference)
    if reads is None:
        with event_engine(installation, reference) as engine:
            yield engine
        return
    try:
        yield reads.read_once("engine", lambda: reads.stack.enter_context(event_engine(installation, reference)))
    except BaseException:
        reads.release_shared_reads()  # a failed engine may be unusable
        raise


def _reads_of(reference: ReferenceData | None) -> _Reads | None:
    reads = _READS.get()
    return reads if reads and reference is not None and reads.reference is reference else None
