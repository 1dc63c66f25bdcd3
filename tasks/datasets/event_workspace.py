"""Loads the events of a data set into an engine on disk, with ids as small integers, for feature queries.

The engine spills to disk beyond its share of memory, so only the disk limits the number of events.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Final, Self

import duckdb
import narwhals as nw
import pyarrow as pa

from infra.installation import Installation
from models import columns
from models.datasets.known_attributes import as_known
from models.datasets.labels import IMPRESSION
from models.features.expressions import Frame
from models.primitives.arrow_sql import executed, texts
from tasks.lake.event_query import NO_REFUNDS, EventQuery, Refunds, match_refunds
from tasks.lake.reference_data import ReferenceData

CACHED: Final = "cached"
"""The schema of frames that are read more than once."""
_GOODS: Final = f"""
    CREATE TABLE goods AS
    SELECT item_id, (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS code
    FROM (SELECT DISTINCT item_id FROM read_parquet($files) WHERE item_id <> '{columns.WHOLE_ORDER}')
"""
_WITHOUT_REFUNDS: Final = (
    EventQuery()
    .join_users("people")
    .join_items("goods")
    .where(f"event.event_type <> '{columns.REFUND}'", "coalesce(share, 1) > 0")
)
_EVENTS: Final = f"""
    people.code AS user_key, goods.code AS item_id, event.event_type, epoch(event.occurred_at)::BIGINT AS occurred_at,
    event.session_id, event.quantity * coalesce(share, 1) AS quantity, event.value * coalesce(share, 1) AS value,
    event.recommendation_id, event.placement, event.position, event.rating,
    CASE WHEN since > {EventQuery.KNOWN_AT} THEN since ELSE {EventQuery.RECEIVED_AT} END AS received_at,
    "until" AS refunded_at
"""
_WITH_STATES: Final = "LEFT JOIN purchase_states ON purchase_states.event_id = event.event_id"
# The ids of events are not read if nothing was refunded.
_WITHOUT_STATES: Final = 'CROSS JOIN (SELECT NULL::BIGINT AS since, NULL::BIGINT AS "until", NULL::DOUBLE AS share)'
_ITEM_ATTRIBUTES: Final = """
    SELECT goods.code AS item_id, category, brand, price, available FROM {catalogue} JOIN goods USING (item_id)
    WHERE goods.code IN (SELECT item_id FROM events)
"""
_COUNTS: Final = f"SELECT count(*), count(*) FILTER (event_type = '{IMPRESSION}') FROM events"
_CODE_TABLES: Final = {columns.USER_KEY: "people", columns.ITEM_ID: "goods"}
"""The tables that map users and items to their codes."""
_KEY_TYPE: Final = pa.dictionary(pa.int32(), pa.string())
_BATCH_ROWS: Final = 100_000
_SCRATCH: Final = "features-"


def catalogue_at(moment: int) -> str:
    """Return the name of the stored catalogue as known at a moment (epoch s)."""
    return f"catalogue {moment}"


@dataclass(frozen=True)
class Workspace:
    """Events in an engine of their own, with users and items as codes, and the names of the codes."""

    connection: duckdb.DuckDBPyConnection
    names: Mapping[str, pa.Array]
    """The users and items by their codes."""
    refunds: Refunds = NO_REFUNDS
    known: ReferenceData | None = None
    size: int = 0
    """The number of events."""
    has_impressions: bool = True
    _cached: set[str] = field(default_factory=set)
    _locks: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))

    @contextmanager
    def cursor(self) -> Iterator[Self]:
        """Yield the same workspace for another thread."""
        with self.connection.cursor() as connection:
            yield replace(self, connection=connection)

    @contextmanager
    def limit_engine_threads(self, threads: int) -> Iterator[None]:
        """Leave cores to so many concurrent callers, each of which also works on its own query."""
        cores = self.connection.sql("SELECT current_setting('threads')").fetchall()[0][0]
        self.connection.execute(f"SET threads = {max(1, cores - threads + 1)}")
        try:
            yield
        finally:
            self.connection.execute(f"SET threads = {cores}")

    def events(self) -> Frame:
        """Return all events, for `models.features`."""
        return nw.from_native(self.connection.table("events"))

    @property
    def dated(self) -> bool:
        """Whether an attribute of an item changed, so that the catalogue depends on the moment."""
        return self.known is not None and self.known.item_history.num_rows > 0

    def items(self, moment: int) -> Frame:
        """Return the item attributes as known at a moment (epoch s), for `models.features`."""
        if self.known is None or not self.dated:
            return nw.from_native(self.connection.table("item_attributes"))
        return self.cached(partial(self._catalogue, self.known, moment), catalogue_at(moment))

    def _catalogue(self, known: ReferenceData, moment: int) -> str:
        self.connection.register("catalogue_then", as_known(known.items, columns.ITEM_ID, known.item_history, moment))
        return _ITEM_ATTRIBUTES.format(catalogue="catalogue_then")

    def cached(self, query: Callable[[], str], name: str) -> Frame:
        """Store the rows of a query under a name on the first call; later calls read them."""
        with self._locks[name]:
            if name not in self._cached:
                self.connection.execute(f'CREATE TABLE {CACHED}."{name}" AS {query()}')
                self._cached.add(name)
        return nw.from_native(self.connection.table(f'{CACHED}."{name}"'))

    def with_keys(self, query: str) -> pa.RecordBatchReader:
        """Return a stream of the rows of a query, with user keys and item ids in place of their codes.

        Every batch has a dictionary of its keys, because full keys in each row would be most of the written data.
        """
        stream: pa.RecordBatchReader = executed(self.connection, query, self.size).to_arrow_reader(_BATCH_ROWS)
        keys = [key for key in _CODE_TABLES if key in stream.schema.names]
        fields = [pa.field(field.name, _KEY_TYPE) if field.name in keys else field for field in stream.schema]
        return pa.RecordBatchReader.from_batches(pa.schema(fields), (self._decode(batch, keys) for batch in stream))

    def _decode(self, batch: pa.RecordBatch, keys: list[str]) -> pa.RecordBatch:
        for key in keys:
            codes = batch[key].dictionary_encode()
            names = pa.DictionaryArray.from_arrays(codes.indices, self.names[key].take(codes.dictionary))
            batch = batch.set_column(batch.schema.names.index(key), pa.field(key, _KEY_TYPE), names)
        return batch


def drop_orphaned_workspaces(var: Path) -> None:
    """Delete the folders of killed builds; call it while no build runs."""
    for folder in var.glob(f"{_SCRATCH}*"):
        rmtree(folder, ignore_errors=True)


@contextmanager
def workspace(installation: Installation, known: ReferenceData, files: list[str]) -> Iterator[Workspace]:
    """Yield a workspace with the events of some files of the lake; it is deleted at the end of the block."""
    installation.settings.var.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=installation.settings.var, prefix=_SCRATCH) as folder,
        duckdb.connect(Path(folder) / "events.duckdb") as connection,
    ):
        connection.execute(f"SET memory_limit = '{installation.settings.memory}'")
        connection.execute(f"SET temp_directory = {texts([folder])[1:-1]}")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # it is never opened again
        connection.execute(f"ATTACH ':memory:' AS {CACHED}")
        refunds = _load_events(connection, known, files)
        names = {key: _names(connection, table, key) for key, table in _CODE_TABLES.items()}
        size, shown = connection.execute(_COUNTS).fetchall()[0]
        yield Workspace(connection, names, refunds, known, size, has_impressions=shown > 0)


def _load_events(connection: duckdb.DuckDBPyConnection, known: ReferenceData, files: list[str]) -> Refunds:
    known.register(connection, files)
    connection.register("users", known.users)
    connection.register("catalogue", known.items)
    connection.execute(
        """CREATE TABLE people AS
        SELECT user_key, (row_number() OVER (ORDER BY user_key) - 1)::INTEGER AS code FROM users"""
    )
    refunds = match_refunds(connection, files)
    states = _WITH_STATES if refunds.matched else _WITHOUT_STATES
    events = _WITHOUT_REFUNDS.join(states).select(_EVENTS)
    for statement in (_GOODS, f"CREATE TABLE events AS {events}"):
        connection.execute(statement, {"files": files})
    connection.execute(f"CREATE TABLE item_attributes AS {_ITEM_ATTRIBUTES.format(catalogue='catalogue')}")
    return refunds


def _names(connection: duckdb.DuckDBPyConnection, table: str, key: str) -> pa.Array:
    return connection.sql(f"SELECT {key} FROM {table} ORDER BY code").to_arrow_table()[key].combine_chunks()
