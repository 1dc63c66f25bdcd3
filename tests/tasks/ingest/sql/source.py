"""A shop's own database with orders, and ingests that read them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from infra.database.schema.schema import ingest_batches
from infra.installation import Installation
from models.primitives.json_types import JsonObject
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.sql.ingest_stream import ingest_stream, list_streams
from tasks.ingest.sql.stream_run import SqlIngest, sql_ingest
from tasks.sources.mapping_files import table_mapping
from tasks.sources.sql.pull_rows import BATCH_ROWS
from tasks.sources.sql.source_database import source_database
from tests.tasks.ingest.stored import lake

MAPPING = """
name = "shop"
consent = "given"
consent_note = "a test"
unknown_items = "accept"

[events]
event_id = "id"
user_id = "customer"
item_id = "product"
occurred_at = "ordered_at"
quantity = "quantity"
constants = { event_type = "purchase" }
optional = ["quantity"]

[events.sql]
table = "orders"
cursor = "updated_at"
"""
ORDERS = """
    CREATE TABLE orders (id bigint PRIMARY KEY, customer text, product text, quantity int, ordered_at timestamptz,
        updated_at timestamptz, internal_note text)"""
MINUTES = "timestamptz '2024-03-01 00:00:00+00' + n * interval '1 minute'"
INSERT = """
    INSERT INTO orders SELECT n, 'customer-' || n % 9, 'p' || n % 7, 1, timestamptz '2024-03-01 00:00:00+00',
        {at}, 'note' FROM {numbers} AS numbers(n)"""


@dataclass
class Source:
    """A database with a table of orders."""

    here: Installation
    folder: Path
    url: URL
    options: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.url.render_as_string(hide_password=False)

    def engine(self) -> Engine:
        return create_engine(self.url, poolclass=NullPool)

    def run(self, *statements: str) -> None:
        """Change the source as its own application would."""
        engine = self.engine()
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def add(self, first: int, last: int, at: str = MINUTES) -> None:
        """Add orders with these numbers; each was changed a minute after the one before, unless `at` states it."""
        series = "range" if self.url.get_backend_name() == "duckdb" else "generate_series"
        end = last + 1 if series == "range" else last
        self.run(INSERT.format(at=at, numbers=f"{series}({first}, {end})"))

    def request(self, mapping: str = MAPPING, **stated: str) -> SqlIngest:
        """Return the request of an ingest by a mapping, which is an included one or a text."""
        path = Path(mapping)
        if "\n" in mapping:
            path = self.folder / "shop.toml"
            path.write_text(mapping)
        os.environ["TAILORBIRD_SECRET_TEST_URL"] = self.address
        since = stated.pop("since", None)
        return sql_ingest(str(path), "env:TAILORBIRD_SECRET_TEST_URL", {}, since, {**self.options, **stated})

    def ingest(
        self, mapping: str = MAPPING, most: int = BATCH_ROWS, lines: list[LedgerEntry] | None = None, **stated: str
    ) -> list[LedgerEntry]:
        """Ingest all parts; returns their lines in the ledger, also in `lines`."""
        request = self.request(mapping, **stated)
        lines = [] if lines is None else lines
        tables = table_mapping(request.mapping, {})
        streams = list_streams.fn(request)
        with source_database(request.url) as database:
            for stream in streams:
                ingest_stream(self.here, request, tables, stream, database, lines, most)
        return lines

    def counts(self, *arguments: Any, **stated: Any) -> list[tuple[int, int, int]]:
        """Ingest; returns rows read, accepted and duplicate of each batch."""
        return [(one["read"], one["accepted"], one["duplicate"]) for one in self.ingest(*arguments, **stated)]

    def lake(self) -> list[int]:
        """Return the numbers of the orders in the lake."""
        return sorted(int(row["event_id"]) for row in lake(self.here))

    def ledger(self) -> list[JsonObject]:
        with self.here.engine.connect() as connection:
            rows = connection.execute(select(ingest_batches).order_by(ingest_batches.c.started_at))
            return [dict(row) for row in rows.mappings()]

    def position(self) -> str | None:
        """Return the stored position of the cursor."""
        done = [row for row in self.ledger() if row["status"] == "committed"]
        return done[-1]["request"]["sql"]["position"] if done else None
