"""Databases of a shop with an empty table of orders."""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import URL, make_url

from infra.installation import Installation
from tests.tasks.ingest.sql.source import ORDERS, Source


@pytest.fixture
def orders(installation: Installation, empty_database: str, tmp_path: Path) -> Iterator[Source]:
    """Return a PostgreSQL database with an empty table of orders."""
    source = Source(installation, tmp_path, make_url(empty_database).set(drivername="postgresql+psycopg2"))
    source.run(ORDERS)
    yield source
    os.environ.pop("TAILORBIRD_SECRET_TEST_URL", None)


@pytest.fixture
def duck_orders(installation: Installation, tmp_path: Path) -> Iterator[Source]:
    """Return a DuckDB file with an empty table of orders."""
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.execute(ORDERS)
    yield Source(installation, tmp_path, URL.create("duckdb", database=str(tmp_path / "shop.duckdb")))
    os.environ.pop("TAILORBIRD_SECRET_TEST_URL", None)
