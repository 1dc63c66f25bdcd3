"""The events that a data set is made of, laid out for feature queries: one engine on disk, ids as small numbers.

The engine spills what does not fit into its share of memory, so the number of events is bounded by the disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import narwhals as nw
import pyarrow as pa

from infra.installation import Installation
from models import columns
from models.sql import texts

_EVENTS: Final = f"""
    CREATE TABLE events AS
    WITH said AS (
        SELECT coalesce(aliases.known, events.user_key) AS user_key, item_id, event_type,
            epoch(occurred_at)::BIGINT AS occurred_at, session_id, quantity, value, recommendation_id, placement,
            position, rating,
            -- Lakes of the first version wrote the time of ingestion where the source had said nothing.
            epoch(CASE WHEN received_at < batches.started_at THEN received_at ELSE occurred_at END)::BIGINT
                AS received_at
        FROM read_parquet($files, union_by_name = true) AS events
        JOIN batches USING (batch_id) LEFT JOIN aliases ON events.user_key = aliases.device
    ), goods AS (
        SELECT item_id, (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS code
        FROM (SELECT DISTINCT item_id FROM said WHERE item_id <> '{columns.WHOLE_ORDER}')
    ), taken_back AS (
        SELECT DISTINCT session_id, item_id FROM said
        WHERE event_type = '{columns.REFUND}' AND session_id IS NOT NULL
    )
    SELECT people.code AS user_key, goods.code AS item_id, said.* EXCLUDE (user_key, item_id), said.item_id AS item
    FROM said JOIN people USING (user_key) JOIN goods USING (item_id)
    WHERE event_type <> '{columns.REFUND}' AND NOT (event_type = '{columns.PURCHASE}' AND EXISTS (
        SELECT 1 FROM taken_back
        WHERE taken_back.session_id = said.session_id
            AND taken_back.item_id IN (said.item_id, '{columns.WHOLE_ORDER}')))
"""


@dataclass(frozen=True)
class Known:
    """What a data set is made of besides events: who agreed, what is sold, and which device is whose."""

    users: pa.Table
    items: pa.Table
    aliases: pa.Table
    """`device` and `known`, the key of its user."""
    batches: pa.Table
    """`batch_id` and `started_at` of the committed ones."""


@dataclass(frozen=True)
class Workspace:
    """Events (users and items as numbers) in an engine of their own, and how to name them again."""

    connection: duckdb.DuckDBPyConnection

    def events(self) -> nw.LazyFrame[Any]:
        """All events, for `models.features`."""
        return nw.from_native(self.connection.table("events"))

    def items(self) -> nw.LazyFrame[Any]:
        """The catalogue, for `models.features`."""
        return nw.from_native(self.connection.table("shelf"))

    def keep(self, frame: nw.LazyFrame[Any], name: str) -> nw.LazyFrame[Any]:
        """Store a frame that is read several times, or find what was stored under this name."""
        self.connection.execute(f'CREATE TEMP TABLE IF NOT EXISTS "{name}" AS {frame.to_native().sql_query()}')
        return nw.from_native(self.connection.table(f'"{name}"'))

    def named(self, frame: nw.LazyFrame[Any]) -> duckdb.DuckDBPyRelation:
        """A frame with user keys and item ids in place of their numbers."""
        found = frame.to_native()
        names = found.columns
        joins = ""
        shown = ", ".join(f"found.{name}" for name in names if name not in (columns.USER_KEY, columns.ITEM_ID))
        if columns.ITEM_ID in names:
            joins, shown = joins + " JOIN goods ON goods.code = found.item_id", f"goods.item_id, {shown}"
        if columns.USER_KEY in names:
            joins, shown = joins + " JOIN people ON people.code = found.user_key", f"people.user_key, {shown}"
        rows: duckdb.DuckDBPyRelation = found.query("found", f"SELECT {shown} FROM found{joins}")
        return rows


@contextmanager
def workspace(here: Installation, known: Known, files: list[str]) -> Iterator[Workspace]:
    """Lay the events of some files of the lake out; gone when it is left."""
    here.settings.var.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=here.settings.var, prefix="features-") as folder,
        duckdb.connect(Path(folder) / "events.duckdb") as connection,
    ):
        connection.execute(f"SET memory_limit = '{here.settings.memory}'")
        connection.execute(f"SET temp_directory = {texts([folder])[1:-1]}")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        _lay_out(connection, known, files)
        yield Workspace(connection)


def _lay_out(connection: duckdb.DuckDBPyConnection, known: Known, files: list[str]) -> None:
    for name in ("users", "aliases", "batches"):
        connection.register(name, getattr(known, name))
    connection.register("catalogue", known.items)
    connection.execute(
        """CREATE TABLE people AS
        SELECT user_key, (row_number() OVER (ORDER BY user_key) - 1)::INTEGER AS code FROM users"""
    )
    connection.execute(_EVENTS, {"files": files})
    connection.execute("CREATE TABLE goods AS SELECT DISTINCT item AS item_id, item_id AS code FROM events")
    connection.execute("ALTER TABLE events DROP COLUMN item")
    connection.execute(
        """CREATE TABLE shelf AS
        SELECT goods.code AS item_id, category, brand, price, available FROM catalogue JOIN goods USING (item_id)"""
    )
