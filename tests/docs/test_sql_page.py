"""Tests the mapping, the commands and the links of docs/sql.md, on a real database."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from infra.installation import Installation
from models.ingest.tabular import table_mapping as tables
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.sql.ingest_stream import ingest_stream
from tasks.ingest.sql.stream_run import sql_ingest, streams_of
from tasks.sources.mapping_files import shipped, table_mapping
from tasks.sources.sql.source_database import _PACKAGES, source_database
from tests.docs.shown import commands_of

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
TEXT = PAGE.read_text(encoding="utf-8")
[MAPPING] = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
TABLES = """
    CREATE TABLE orders (order_id int, customer_id text, ordered_at timestamptz);
    CREATE TABLE order_lines (line_id int, order_id int, product_id text, quantity int, unit_price numeric(8, 2),
        updated_at timestamptz);
    CREATE TABLE products (product_id text, name text, category text, unit_price numeric(8, 2));
    INSERT INTO orders SELECT n, 'c' || n, timestamptz '2026-03-01 12:00+00' FROM generate_series(1, 20) AS numbers(n);
    INSERT INTO order_lines SELECT n, n, 'p' || n % 5, 2, 1.25, '2026-03-01 12:00+00'
        FROM generate_series(1, 20) AS numbers(n);
    INSERT INTO products SELECT 'p' || n, 'Cup ' || n, 'Cups', 1.25 FROM generate_series(0, 4) AS numbers(n)"""


def test_the_mapping_of_the_page_ingests_the_tables_that_it_names(
    installation: Installation, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_SHOP_URL", empty_database)
    engine = create_engine(empty_database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(TABLES))
    (tmp_path / "shop.toml").write_text(MAPPING)
    request = sql_ingest(str(tmp_path / "shop.toml"), "env:TAILORBIRD_SECRET_SHOP_URL", {})
    mapping = table_mapping(request.mapping, {})
    lines: list[LedgerEntry] = []
    with source_database(request.url) as database:
        for stream in streams_of(mapping, request.options):
            ingest_stream(installation, request, mapping, stream, database, lines)
    assert [(line["dataset"], line["read"], line["status"]) for line in lines] == [
        ("items", 5, "committed"),
        ("events", 20, "committed"),
    ]
    assert lines[1]["accepted"] == 20


def test_every_mapping_that_the_page_names_exists() -> None:
    tables.parse(tomllib.loads(MAPPING), "page")
    named = {
        words[words.index("--mapping") + 1] for words in map(shlex.split, commands_of(PAGE)) if "--mapping" in words
    }
    assert named - {"shop.toml"} <= set(shipped())
    assert set(re.findall(r"\(\.\./tasks/sources/mappings/(\w+)\.toml\)", TEXT)) <= set(shipped())


def test_the_packages_of_the_page_are_those_that_errors_name() -> None:
    for package in ("sqlalchemy-redshift", "snowflake-sqlalchemy", "sqlalchemy-bigquery"):
        assert f"`{package}`" in TEXT
        assert package in _PACKAGES.values()
