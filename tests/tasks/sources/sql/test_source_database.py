"""Addresses and errors of databases: helpful, and without passwords."""

import json
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import make_url, text

from tasks.sources.sql.database_address import DatabaseAddressError, read_address, shown, without_secrets
from tasks.sources.sql.pull_rows import ParquetSpool, arrow_column
from tasks.sources.sql.source_database import SourceDatabaseError, source_database

PASSWORD = "s3 cret@/word"
ENCODED = "s3%20cret%40%2Fword"
MOMENT = datetime(2024, 3, 1, 12, tzinfo=UTC)
NUMBER = Decimal("12345678901234567890123456789012345678")


def message(address: str) -> str:
    with (
        pytest.raises((SourceDatabaseError, DatabaseAddressError)) as caught,
        source_database(address) as database,
        database.connected(),
    ):
        pass
    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_variable_may_hold_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", f"postgresql://ann:{ENCODED}@db.shop:5433/orders?sslmode=require")
    url = read_address("env:SHOP_URL")
    assert (url.password, shown(url)) == (PASSWORD, "postgresql://db.shop:5433/orders")
    assert "The variable OTHER_URL with the address of the database is not set" in message("env:OTHER_URL")


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    assert "cannot be read. Write it as postgresql://" in message(f"ann:{ENCODED}@db")
    assert "cannot be read" in message(f"postgresql://ann:{ENCODED}@db:port/x")


@pytest.mark.parametrize(
    ("address", "package"),
    [
        (f"snowflake://ann:{ENCODED}@account/db", "snowflake-sqlalchemy"),
        (f"redshift+psycopg2://ann:{ENCODED}@host/db", "sqlalchemy-redshift"),
        (f"bigquery://project?credentials_base64={ENCODED}", "sqlalchemy-bigquery"),
        (f"mysql://ann:{ENCODED}@host/db", "mysqlclient"),
        (f"mysql+pymysql://ann:{ENCODED}@host/db", "pymysql"),
    ],
)
def test_a_missing_driver_is_named_with_the_package_to_install(address: str, package: str) -> None:
    assert f"Install it where Tailorbird runs: pip install '{package}'" in message(address)


def test_a_server_that_refuses_is_explained_without_the_login(empty_database: str) -> None:
    url = make_url(empty_database).set(drivername="postgresql")
    refused = url.set(username="nobody_here", password=PASSWORD).render_as_string(hide_password=False)
    assert "cannot be reached or refuses the login" in message(refused)
    away = url.set(port=1, password=PASSWORD).render_as_string(hide_password=False)
    assert "Connection refused" in message(away)


def test_secrets_are_removed_in_every_form() -> None:
    url = make_url(f"x://ann:{ENCODED}@host/db?token=s3-token")
    message = f"login {PASSWORD} {ENCODED} s3+cret%40%2Fword s3-token at pg://bob:other@host"
    assert without_secrets(message, url) == "login *** *** *** *** at pg://***@host"


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_files_are_opened_to_read_only(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    if kind == "duckdb":
        with duckdb.connect(path) as connection:
            connection.execute("CREATE TABLE orders (id int)")
    else:
        import sqlite3

        sqlite3.connect(path).execute("CREATE TABLE orders (id int)").connection.commit()
    with (
        source_database(f"{kind}:///{path}") as database,
        pytest.raises(SourceDatabaseError, match="cannot read orders"),
        database.connected() as source,
        database.explained("orders"),
    ):
        source.execute(text("INSERT INTO orders VALUES (1)"))


def test_an_error_on_rows_quotes_none(empty_database: str) -> None:
    url = make_url(empty_database).set(drivername="postgresql").render_as_string(hide_password=False)
    with (
        pytest.raises(SourceDatabaseError) as caught,
        source_database(url) as database,
        database.connected() as source,
    ):
        source.execute(text("SELECT 's3cret-row'::int"))
    assert "s3cret-row" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([None, None], pa.null(), [None, None]),
        ([1, None], pa.int64(), [1, None]),
        ([2**70, 1], pa.decimal128(38, 0), [Decimal(2**70), Decimal(1)]),
        ([True, None], pa.bool_(), [True, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([Decimal("1.50"), Decimal("2.125")], pa.decimal128(38, 3), [Decimal("1.500"), Decimal("2.125")]),
        ([NUMBER, Decimal("0.5")], pa.string(), [str(NUMBER), "0.5"]),
        ([Decimal("NaN")], pa.string(), ["NaN"]),
        ([MOMENT], pa.timestamp("us", "UTC"), [MOMENT]),
        ([date(2024, 3, 1)], pa.date32(), [date(2024, 3, 1)]),
        ([time(12)], pa.string(), ["12:00:00"]),
        ([UUID(int=7), "x"], pa.string(), [str(UUID(int=7)), "x"]),
        ([{"a": [1]}, ["b"]], pa.string(), [json.dumps({"a": [1]}), '["b"]']),
        ([b"word", memoryview(b"\xff")], pa.string(), ["word", "ff"]),
        ([MOMENT, MOMENT.replace(tzinfo=None)], pa.string(), [MOMENT.isoformat(), "2024-03-01T12:00:00"]),
    ],
)
def test_values_become_arrow(values: list[Any], kind: pa.DataType, stored: list[Any]) -> None:
    made = arrow_column(values)
    assert (made.type, made.to_pylist()) == (kind, stored)


@pytest.mark.parametrize(
    ("chunks", "stored"),
    [
        ([[None], [1], [2]], [None, 1, 2]),
        ([[1], [Decimal("2.5")], [Decimal("3.25")]], [Decimal("1.00"), Decimal("2.50"), Decimal("3.25")]),
        ([[1], [2.5], [None]], [1.0, 2.5, None]),
        ([[1], ["two"], [3]], ["1", "two", "3"]),
        ([[date(2024, 3, 1)], [datetime(2024, 3, 1, 12)]], [datetime(2024, 3, 1), datetime(2024, 3, 1, 12)]),
        ([[True], ["x"]], ["true", "x"]),
    ],
)
def test_later_chunks_may_hold_wider_types(chunks: list[list[Any]], stored: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with closing(ParquetSpool(path, ["a"])) as spool:
        for chunk in chunks:
            spool.write([(value,) for value in chunk])
        spool.finish()
    assert pq.read_table(path)["a"].to_pylist() == stored
    assert [found.name for found in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_same_rows_are_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with closing(ParquetSpool(tmp_path / name, ["n", "t"])) as spool:
            spool.write([(number, f"t{number}") for number in range(1000)])
            spool.write([(None, "x")])
            spool.finish()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
