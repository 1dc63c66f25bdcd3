"""The rights of each database role, tried as that role on a real server."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy import URL, make_url

from infra.configuration.settings import Settings
from infra.database.engine import engine, migrate
from infra.keys.credentials import variable
from infra.services.database_access import grants, logins, role_rights
from infra.services.database_access.grants import INGEST, OPERATOR, READER, ROLES, SERVING, Role
from infra.services.database_access.role_rights import DatabaseRefusedError
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.published import published, shelf

PRIVILEGES = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"]
NUMBERS = count(1)
HIDDEN = "raw id of somebody who refused"


@dataclass
class Place:
    """A database of an installation, and what `up` printed about its roles."""

    admin: URL
    own: URL
    settings: Settings
    lines: list[str] = field(default_factory=list)

    def up(self) -> bool:
        self.lines.clear()
        return role_rights.ensure(self.settings, self.admin, self.own, self.lines.append)

    def login(self, role: Role) -> URL:
        return logins.login(self.settings, role, self.own)

    def run(self, role: Role, statement: str, *values: Any) -> list[Any]:
        return run(self.login(role), statement, *values)


def run(url: URL, statement: str, *values: Any) -> list[Any]:
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("access"))
    server.start(17433)
    yield make_url(server.url())
    server.destroy()


def settings_of(folder: Path, url: URL | None = None) -> Settings:
    given = url.render_as_string(hide_password=False) if url else None
    return Settings(var=folder, database_url=given)


@pytest.fixture(scope="module")
def place(admin: URL, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Our own server's database, with lists for Ann, who agreed, and for somebody who refused since."""
    own = role_rights.give_own_database(admin, "tailorbird", "pw")
    place = Place(admin, own, settings_of(tmp_path_factory.mktemp("var")))
    migrate(url(own))
    assert place.up()
    for key, raw, agreed in (("1", "1", True), ("hidden key", HIDDEN, False)):
        columns = "user_key, attributes, consent, consent_source, batch_id"
        run(own, f"INSERT INTO users ({columns}) VALUES (%s, '{{}}', %s, '', 'b')", key, agreed)
        run(own, "INSERT INTO identity.users VALUES (%s, %s, 1)", key, raw)
    run(own, "INSERT INTO items (item_id, attributes, available, batch_id) VALUES ('i', '{}', true, 'b')")
    columns = "batch_id, dataset, source, location, status, consent"
    run(own, f"INSERT INTO ingest_batches ({columns}) VALUES ('b', '', '', '', '', '')")
    columns = "batch_id, row_number, chunk, rule_ids, payload"
    run(own, f"INSERT INTO quarantine ({columns}) VALUES ('b', 1, 0, '{{rule}}', '{{\"a\": 1}}')")
    published(engine(url(place.own)), {"1": [("i", 1.0, "r")], "hidden key": [("i", 1.0, "r")]}, shelf(k=1))
    published(engine(url(place.own)), {"i": [("i", 1.0, "r")]}, shelf(placement="pairs", k=1, about="item"))
    engine(url(place.own)).dispose()
    return place


def url(own: URL) -> str:
    return own.render_as_string(hide_password=False)


def expected(relation: str, role: Role) -> set[tuple[str, str]]:
    """Return the grants on a table, as pairs of privilege and column."""
    written = relation in grants.TABLES and relation not in grants.WRITTEN_BY_OWNER
    usual = {OPERATOR: grants.WRITE if written else grants.READ}
    words = {**usual, **(grants.TABLES | grants.VIEWS)[relation]}.get(role, "")
    return {(privilege, column.rstrip(")")) for privilege, _, column in (word.partition("(") for word in words.split())}


RIGHTS_THAT_HOLD = """
    SELECT p, '' FROM unnest(%(privileges)s) AS p WHERE has_table_privilege(%(name)s, %(relation)s, p)
    UNION ALL
    SELECT p, attname FROM unnest(%(column_privileges)s) AS p, pg_attribute
    WHERE attrelid = %(relation)s::regclass AND attnum > 0 AND NOT has_table_privilege(%(name)s, %(relation)s, p)
        AND has_column_privilege(%(name)s, attrelid, attnum, p)
"""


@pytest.fixture(scope="module")
def catalogs(place: Place) -> Iterator[Any]:
    connection = psycopg2.connect(place.own.set(drivername="postgresql").render_as_string(hide_password=False))
    connection.autocommit = True
    yield connection.cursor()
    connection.close()


@pytest.mark.parametrize("relation", [*grants.TABLES, *grants.VIEWS])
def test_every_table_and_view_has_a_decision_and_each_role_has_just_that(catalogs: Any, relation: str) -> None:
    privileges = {"privileges": PRIVILEGES, "column_privileges": ["SELECT", "INSERT", "UPDATE", "REFERENCES"]}
    for role in ROLES:
        name = logins.name_of(role, "tailorbird")
        catalogs.execute(RIGHTS_THAT_HOLD, {"name": name, "relation": relation, **privileges})
        assert set(catalogs.fetchall()) == expected(relation, role)


def test_no_table_or_view_is_left_out(place: Place) -> None:
    there = run(
        place.own,
        "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('public', 'identity') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition",
    )
    assert {name for (name,) in there} == {*grants.TABLES, *grants.VIEWS}


REFUSED = {
    READER: [
        "SELECT * FROM identity.users",
        "SELECT identity.user_key('1')",
        "SELECT payload FROM quarantine",
        "SELECT * FROM suppressions",
        "SELECT user_key FROM users",
        "SELECT * FROM recommendations",
        "SELECT * FROM recommendations_1",
        "SELECT * FROM promotions",
        "INSERT INTO items (item_id) VALUES ('x')",
        "UPDATE placements SET batch_id = 1",
        "DELETE FROM items",
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE VIEW mine AS SELECT 1",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "COPY items TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
        "SET ROLE tailorbird",
        "SET SESSION AUTHORIZATION tailorbird",
        "ALTER ROLE tailorbird_reader SUPERUSER",
    ],
    SERVING: [
        "SELECT * FROM identity.users",
        "SELECT payload FROM quarantine",
        "SELECT attributes FROM users",
        "UPDATE operator_rules SET author = ''",
        "DELETE FROM operator_rules",
        "UPDATE placements SET batch_id = 1",
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
    ],
    INGEST: [
        "SELECT payload FROM quarantine",
        "INSERT INTO suppressions (user_key, reason) VALUES ('k', 'r')",
        "DELETE FROM suppressions",
        "SELECT * FROM current_recommendations",
        "INSERT INTO promotions (previous_promotion_id) VALUES (1)",
        "UPDATE placements SET batch_id = 1",
        "CREATE TABLE mine (x int)",
    ],
    OPERATOR: [
        "CREATE TABLE mine (x int)",
        "DROP TABLE items",
        "TRUNCATE items",
        "UPDATE alembic_version SET version_num = ''",
        "INSERT INTO operator_rules (version, author) VALUES (1, 'ann')",
        "DELETE FROM operator_rules",
    ],
}


@pytest.mark.parametrize(
    ("role", "statement"), [(role, statement) for role, several in REFUSED.items() for statement in several]
)
def test_a_role_may_not(place: Place, role: Role, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        place.run(role, statement)


ALLOWED = {
    READER: {
        "SELECT user_id, item_id FROM recommendations_by_user_id": [("1", "i")],
        "SELECT user_key, item_id FROM current_recommendations": [("1", "i")],
        "SELECT for_item_id FROM current_item_recommendations": [("i",)],
        "SELECT count(*) FROM placements JOIN items ON items.available": [(2,)],
    },
    SERVING: {
        "SELECT identity.user_key('1'), identity.user_key('nobody')": [("1", None)],
        "SELECT user_key FROM users WHERE consent": [("1",)],
        "SELECT batch_id, rule_ids FROM quarantine": [("b", ["rule"])],
    },
    OPERATOR: {
        "SELECT payload FROM quarantine": [({"a": 1},)],
        "SELECT user_id FROM identity.users WHERE user_key = '1'": [("1",)],
        "UPDATE suppressions SET reason = '' RETURNING 1": [],
    },
}


@pytest.mark.parametrize(
    ("role", "statement"), [(role, statement) for role, several in ALLOWED.items() for statement in several]
)
def test_a_role_may(place: Place, role: Role, statement: str) -> None:
    assert place.run(role, statement) == ALLOWED[role][statement]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM recommendations_by_user_id WHERE user_id::int > 0",
        "SELECT * FROM recommendations_by_user_id WHERE user_key::int > 0",
        "SELECT * FROM current_recommendations WHERE user_key::int > 0",
        "SELECT * FROM current_item_recommendations WHERE (for_item_id || item_id) <> '' AND batch_id / 1 > 0",
    ],
)
def test_a_condition_never_sees_rows_that_the_view_hides(place: Place, query: str) -> None:
    assert len(place.run(READER, query)) == 1


@pytest.mark.parametrize("name", ["postgres", "template1"])
@pytest.mark.parametrize("role", ROLES)
def test_a_role_enters_no_other_database(place: Place, role: Role, name: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        run(place.login(role).set(database=name), "SELECT 1")


def test_lists_of_a_new_batch_and_studies_made_later_are_read_at_once(place: Place) -> None:
    published(engine(url(place.own)), {"1": [("i", 1.0, "new")]}, shelf("later", k=1))
    assert place.run(READER, "SELECT reason FROM recommendations_by_user_id WHERE placement = 'home'") == [("new",)]
    run(place.own, "CREATE TABLE optuna.studies (name text)")
    assert place.run(OPERATOR, "SELECT * FROM optuna.studies") == []
    assert place.up() is False


def test_rights_that_somebody_gave_or_took_are_put_right(place: Place) -> None:
    run(place.own, "GRANT SELECT ON users TO tailorbird_reader; GRANT SELECT (user_id) ON identity.users TO PUBLIC")
    run(place.own, "REVOKE SELECT ON recommendations_by_user_id FROM tailorbird_reader")
    run(place.admin.set(database="tailorbird"), "GRANT CREATE ON SCHEMA public TO tailorbird_serving")
    assert place.up()
    assert place.run(READER, "SELECT user_id FROM recommendations_by_user_id WHERE placement = 'home'") == [("1",)]
    for role, statement in ((READER, "SELECT * FROM users"), (SERVING, "CREATE TABLE mine (x int)")):
        with pytest.raises(errors.InsufficientPrivilege):
            place.run(role, statement)
    assert place.up() is False


def test_on_our_server_a_role_with_another_password_and_more_rights_is_repaired(place: Place) -> None:
    run(place.admin, "ALTER ROLE tailorbird_reader SUPERUSER PASSWORD 'another'")
    assert place.up()
    assert place.run(READER, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


OWN_SETTINGS = {
    "everywhere": "ALTER ROLE CURRENT_USER SET statement_timeout = '1ms'",
    "in one database": "ALTER ROLE CURRENT_USER IN DATABASE tailorbird SET statement_timeout = '1ms'",
    "before any statement": "ALTER ROLE CURRENT_USER SET local_preload_libraries = 'not_there'",
}


@pytest.mark.parametrize("change", OWN_SETTINGS.values(), ids=OWN_SETTINGS)
def test_on_our_server_what_a_role_set_for_all_who_use_its_login_is_reset(place: Place, change: str) -> None:
    place.run(READER, change)
    with pytest.raises(psycopg2.OperationalError):
        place.run(READER, "SELECT pg_sleep(1)")
    assert place.up()
    assert place.run(READER, "SELECT pg_sleep(0.01), 1") == [("", 1)]
    assert logins.usable(place.settings) == list(ROLES)
    assert place.up() is False


@pytest.mark.parametrize("change", ["ALTER ROLE {} SUPERUSER CREATEROLE", "GRANT tailorbird_operator, postgres TO {}"])
def test_on_our_server_attributes_and_memberships_that_somebody_gave_are_taken_back(place: Place, change: str) -> None:
    run(place.admin, change.format("tailorbird_reader"))
    assert place.run(READER, "SELECT count(*) FROM identity.users") == [(2,)]
    assert place.up()
    with pytest.raises(errors.InsufficientPrivilege):
        place.run(READER, "SELECT count(*) FROM identity.users")
    assert place.up() is False


def test_ups_at_once_on_a_server_without_the_roles_of_a_restored_database_give_them_again(place: Place) -> None:
    for role in ROLES:
        name = logins.name_of(role, "tailorbird")
        run(place.admin.set(database="tailorbird"), f"DROP OWNED BY {name}; DROP ROLE {name}")

    def up(_: int) -> bool:
        return role_rights.ensure(place.settings, place.admin, place.own, place.lines.append)

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(up, range(4)))
    assert place.up() is False
    assert place.run(READER, "SELECT item_id FROM recommendations_by_user_id WHERE placement = 'home'") == [("i",)]


@pytest.fixture
def given(admin: URL, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """An installation with a role of somebody's server, which may do what the test's parameter allows."""
    own = role(admin, f"shop{next(NUMBERS)}", getattr(request, "param", ""))
    migrate(url(own))
    engine(url(own)).dispose()
    return Place(own, own, settings_of(tmp_path, own))


def test_a_given_role_that_may_not_create_roles_goes_on_and_gets_the_sql(given: Place, admin: URL) -> None:
    assert given.up() is False
    name, printed = given.own.database, "\n".join(given.lines)
    assert re.findall(r"CREATE ROLE (\S+) LOGIN", printed) == [f'"{name}_{role}"' for role in ROLES]
    passwords = [logins.password_of(given.settings, role) for role in ROLES]
    assert not [password for password in (*passwords, "p@ss/word") if password in printed]
    assert logins.address(given.settings, READER) == url(given.own)
    statements = "\n".join(line for line in given.lines if line.startswith("    "))
    run(admin.set(database=name), statements)
    assert given.up() is True
    assert make_url(logins.address(given.settings, READER)).username == f"{name}_reader"
    assert given.run(READER, "SELECT * FROM recommendations_by_user_id") == []
    assert given.up() is False
    assert given.lines == []


@pytest.mark.parametrize("given", ["CREATEROLE"], indirect=True)
def test_a_given_role_that_may_create_roles_needs_nobody(given: Place) -> None:
    assert given.up() is True
    assert logins.usable(given.settings) == list(ROLES)
    with pytest.raises(errors.InsufficientPrivilege):
        given.run(READER, "SELECT * FROM identity.users")
    assert given.up() is False


@pytest.mark.parametrize("given", ["CREATEROLE"], indirect=True)
def test_on_a_given_server_a_role_of_somebody_else_keeps_its_password_and_gets_no_right(
    given: Place, admin: URL
) -> None:
    name = f"{given.own.database}_reader"
    run(admin, f"CREATE ROLE {name} LOGIN PASSWORD 'theirs'")
    given.up()
    assert f'ALTER ROLE "{name}" LOGIN PASSWORD' in "\n".join(given.lines)
    assert READER not in logins.usable(given.settings)
    with pytest.raises(errors.InsufficientPrivilege):
        run(given.own.set(username=name, password="theirs"), "SELECT * FROM placements")


def test_a_second_host_with_the_same_passwords_uses_the_roles_and_prints_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ROLES:
        monkeypatch.setenv(variable(f"database-{role}"), logins.password_of(place.settings, role))
    guest = Place(place.own, place.own, settings_of(tmp_path, place.own))
    assert guest.up() is False
    assert guest.lines == []
    assert logins.usable(guest.settings) == list(ROLES)


def test_another_database_than_the_noted_one_is_used_by_its_own_login(place: Place, tmp_path: Path) -> None:
    there = place.own.set(database="elsewhere")
    settings = settings_of(place.settings.var, there)
    assert logins.address(settings, READER) == url(there)
    assert logins.usable(settings_of(tmp_path)) == []


def test_names_of_roles_fit_postgresql_and_differ_by_database() -> None:
    assert logins.name_of(READER, "tailorbird") == "tailorbird_reader"
    long = [logins.name_of(role, "é" * 31 + end) for end in "ab" for role in ROLES]
    assert len(set(long)) == len(long)
    assert max(len(name.encode()) for name in long) <= 63


def test_logins_are_shown_with_an_address_that_works(given: Place, admin: URL) -> None:
    assert "no such role yet" in "".join(logins.shown(given.settings))
    given.admin = admin
    given.up()
    _, address = logins.shown(given.settings)
    assert run(make_url(address.strip()), "SELECT current_user") == [(f"{given.own.database}_reader",)]
    assert len(list(logins.shown(given.settings, every=True))) == 2 * len(ROLES)


def role(admin: URL, name: str, rights: str) -> URL:
    run(admin, f"CREATE ROLE {name} LOGIN {rights} PASSWORD 'p@ss/word'")
    run(admin, f"CREATE DATABASE {name} OWNER {name}")
    return admin.set(username=name, password="p@ss/word", database=name)


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
