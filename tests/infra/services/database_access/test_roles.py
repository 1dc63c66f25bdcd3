from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy import URL, make_url

from infra.services.database_access import role_rights
from infra.services.database_access.role_rights import DatabaseRefusedError
from infra.services.embedded_postgres import EmbeddedPostgres


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("roles"))
    server.start()
    yield make_url(server.url())
    server.destroy()


def run(url: URL, statement: str) -> None:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(plain)
    connection.autocommit = True
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()


def role(admin: URL, name: str, rights: str) -> URL:
    run(admin, f"CREATE ROLE {name} LOGIN {rights} PASSWORD 'p@ss/word'")
    run(admin, f"CREATE DATABASE {name} OWNER {name}")
    return admin.set(username=name, password="p@ss/word", database=name)


def test_each_role_enters_its_own_database_only(admin: URL) -> None:
    red, blue = (role_rights.give_own_database(admin, name, f"{name}-password") for name in ("red", "blue"))
    run(red, "CREATE TABLE mine (x int)")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        run(red.set(database="blue"), "SELECT 1")
    run(blue, "CREATE SCHEMA own")


def test_a_role_whose_password_was_replaced_gets_the_new_one(admin: URL) -> None:
    role_rights.give_own_database(admin, "green", "first")
    run(role_rights.give_own_database(admin, "green", "second"), "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        run(admin.set(username="green", password="first", database="green"), "SELECT 1")


def test_on_a_given_server_a_database_is_created_if_the_role_may(admin: URL) -> None:
    given = role(admin, "shop", "CREATEDB")
    created = role_rights.share_server(given, "prefect")
    run(created, "CREATE TABLE mine (x int)")
    assert role_rights.share_server(given, "prefect") == created


def test_on_a_given_server_a_role_without_the_right_gets_the_sql_to_run(admin: URL) -> None:
    given = role(admin, "guest", "NOCREATEDB")
    with pytest.raises(DatabaseRefusedError, match='CREATE DATABASE "mlflow" OWNER "guest";') as refusal:
        role_rights.share_server(given, "mlflow")
    assert "p@ss/word" not in str(refusal.value)
    run(admin, 'CREATE DATABASE "mlflow" OWNER "guest"')
    assert role_rights.share_server(given, "mlflow").database == "mlflow"


def test_a_server_that_is_not_there_is_named_without_the_password(admin: URL) -> None:
    with pytest.raises(
        DatabaseRefusedError, match=r"(?s)does not let postgres in.*Check TAILORBIRD_DATABASE_URL"
    ) as refusal:
        role_rights.share_server(admin.set(port=1, password="hidden"), "prefect")
    assert "hidden" not in str(refusal.value)
