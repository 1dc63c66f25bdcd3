import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from infra.database import engine as database
from infra.database.binary_copy import copy_binary
from infra.database.bulk_copy import copy, copy_table
from infra.database.engine import SchemaError, engine, migrate, refuse_earlier_schema
from infra.outages import explain

MIGRATE = "import os; from infra.database.engine import migrate; migrate(os.environ['DATABASE'])"
SECRET = "ann@mail.example"


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    with engine(empty_database).begin() as connection:
        connection.execute(text("INSERT INTO suppressions (user_key, reason) VALUES ('k', 'asked')"))
    migrate(empty_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT user_key FROM suppressions")).scalars().all() == ["k"]
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_a_database_of_a_newer_version_is_refused_and_stays_as_it_is(empty_database: str) -> None:
    migrate(empty_database)
    with engine(empty_database).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match=r"^A newer version .*9999.* Update Tailorbird"):
        migrate(empty_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"


def test_a_database_of_an_earlier_version_is_refused_with_what_to_do(empty_database: str) -> None:
    migrate(empty_database)
    refuse_earlier_schema(empty_database)
    with engine(empty_database).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0032'"))
    for refuse in (refuse_earlier_schema, migrate):
        with pytest.raises(SchemaError, match=r"schema 0032.* Start the previous release once with `tailorbird up`"):
            refuse(empty_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0032"


def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    environment = os.environ | {"DATABASE": empty_database}
    command = [sys.executable, "-c", MIGRATE]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM recommendations_by_user_id")).scalar() == 0


def test_a_server_that_takes_the_connection_and_stays_silent_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    monkeypatch.setattr(database, "_CONNECT_SECONDS", 2)  # the least that libpq knows
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(OperationalError) as error:
            engine(address).connect()
    assert str(explain(error.value)).startswith("The database went away or cannot be reached (")
    assert "timeout expired" in str(explain(error.value))


@pytest.fixture
def connection(empty_database: str) -> Any:
    with engine(empty_database).connect() as connection:
        connection.execute(
            text("CREATE TABLE kept (key text PRIMARY KEY, number int CHECK (number < 9), code varchar(3))")
        )
        connection.execute(text("INSERT INTO kept VALUES (:key)"), {"key": SECRET})
        yield connection


def run(statement: str, **values: Any) -> Callable[[Any], Any]:
    return lambda connection: connection.execute(text(statement), values)


def chain(error: BaseException | None) -> Iterator[str]:
    """The texts of an error and of all that led to it, as a log shows them."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


REFUSED = {
    "a key that is there": (run("INSERT INTO kept VALUES (:key)", key=SECRET), "kept_pkey"),
    "no number": (run("INSERT INTO kept VALUES ('a', CAST(:number AS int))", number=SECRET), "22P02"),
    "a long text": (run("INSERT INTO kept VALUES ('a', 1, :code)", code=SECRET), "22001"),
    "a check": (run("INSERT INTO kept VALUES (:key, 99)", key="other-" + SECRET), "kept_number_check"),
    "no key": (run("INSERT INTO kept VALUES (NULL, 1, :code)", code="ann"), "key"),
    "a literal in the statement": (run(f"SELECT nothing, '{SECRET}'"), "nothing"),
    "lines": (lambda c: copy(c, "kept", ["key", "number"], [("a", SECRET)]), "22P02"),
    "lines with a key that is there": (lambda c: copy(c, "kept", ["key"], [(SECRET,)]), "kept_pkey"),
    "a table": (lambda c: copy_table(c, "kept", pa.table({"key": ["a"], "number": [SECRET]})), "22P02"),
    "binary": (lambda c: copy_binary(c, "kept", ["key"], [b"\x00\x01\x00\x00\x00\x04ann\x00"]), "22021"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_statement_that_is_refused_names_the_fault_and_no_value(connection: Any, refused: str) -> None:
    step, sign = REFUSED[refused]
    with pytest.raises(Exception) as raised:  # noqa: PT011, whichever client raises it
        step(connection)
    shown = "".join(chain(raised.value)).partition("[SQL: SELECT nothing")[0]
    assert sign in shown
    assert "ann" not in shown


def test_the_kind_of_error_stays(connection: Any) -> None:
    with pytest.raises(psycopg2.errors.UniqueViolation):
        copy(connection, "kept", ["key"], [(SECRET,)])
