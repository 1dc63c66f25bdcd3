from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from sqlalchemy import text

from infra.database.binary_copy import copy_binary
from infra.database.bulk_copy import copy, copy_table
from infra.database.engine import engine

SECRET = "ann@mail.example"


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
