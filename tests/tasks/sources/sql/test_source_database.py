"""Addresses and errors of databases: helpful, and without passwords."""

from pathlib import Path

import duckdb
import pytest
from sqlalchemy import make_url, text

from tasks.sources.sql.database_address import DatabaseAddressError, read_address, shown, without_secrets
from tasks.sources.sql.source_database import SourceDatabaseError, source_database

PASSWORD = "s3 cret@/word"
ENCODED = "s3%20cret%40%2Fword"


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
