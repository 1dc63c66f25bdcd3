"""Outages are recognised by real errors: of PostgreSQL, of servers that refuse, of files that cannot be written."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.error import HTTPError, URLError

import duckdb
import httpx
import pyarrow as pa
import pytest
import requests
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from mlflow import MlflowClient
from sqlalchemy import make_url, text

from infra.database.engine import engine
from infra.lake.delta_lake import Lake
from infra.outages import chain, explain
from infra.services.http_client import request_json
from tests.recording_server import LoopbackServer


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """Yield the address of a server of other people, which answers each request with the same status."""

    class Refuse(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = _refuse  # noqa: N815 - the server asks for these names

    with LoopbackServer(Refuse) as server:
        yield server.url


def caught(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is the library's business
        call()
    return raised.value


def test_prefect_that_cannot_be_reached_is_named() -> None:
    reason = str(explain(RuntimeError("No run. Failed to reach API at http://x:1/api/")))
    assert reason.startswith("Prefect cannot be reached (")
    assert "`tailorbird up`" in reason
    assert "run the same command again" in reason


def test_any_other_error_is_no_outage() -> None:
    for error in (RuntimeError("it failed"), KeyError("x"), FileNotFoundError(errno.ENOENT, "no", "x")):
        assert explain(error) is None


def test_prefect_without_its_client_is_recognised_too() -> None:
    reason = explain(URLError(ConnectionRefusedError(111, "Connection refused")))
    assert reason is not None
    assert reason.startswith("Prefect cannot be reached ([Errno 111] Connection refused).")
    assert explain(HTTPError("http://x", 422, "what?", {}, None)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("53100", "The disk of PostgreSQL is full"),
        ("53200", "PostgreSQL has no memory left"),
        ("53300", "PostgreSQL has no connection left"),
        ("25006", "PostgreSQL is read-only"),
        ("42501", "The database user lacks a right"),
        ("42P01", "The database has no tables of Tailorbird yet"),
        ("40P01", "The database was busy"),
        ("57P01", "The database went away"),
        ("58030", "The database went away"),
        ("28P01", "PostgreSQL refuses the login"),
        ("3D000", "PostgreSQL refuses the login or has no such database"),
    ],
)
def test_an_error_of_postgres_is_recognised_by_its_code(database: str, code: str, cause: str) -> None:
    raising = text(f"DO $$ BEGIN RAISE EXCEPTION 'stopped' USING ERRCODE = '{code}'; END $$")
    with engine(database).connect() as connection:
        error = caught(lambda: connection.execute(raising))
    assert str(explain(error)).startswith(cause)


@pytest.mark.parametrize("wrong", ["user", "password", "database"])
def test_a_refused_login_is_distinguished_from_a_server_that_is_away(database: str, wrong: str) -> None:
    place = make_url(database)
    mistakes = {
        "user": place.set(username="nobody"),
        "password": place.set(password="wrong"),
        "database": place.set(database="gone"),
    }
    address = mistakes[wrong].render_as_string(hide_password=False)
    reason = str(explain(caught(lambda: engine(address).connect())))
    assert reason.startswith("PostgreSQL refuses the login or has no such database (")
    assert "Check user, password and database of TAILORBIRD_DATABASE_URL" in reason
    away = place.set(port=1).render_as_string(hide_password=False)
    assert "If TAILORBIRD_DATABASE_URL is set, check it" in str(explain(caught(lambda: engine(away).connect())))


def test_a_mistake_in_a_statement_is_no_outage_and_its_message_holds_no_parameter(database: str) -> None:
    with engine(database).connect() as connection:
        error = caught(lambda: connection.execute(text("SELECT 1 / (:id <> :id)::int"), {"id": "raw-id-7"}))
    assert explain(error) is None
    assert "raw-id-7" not in str(error)


@pytest.mark.parametrize(
    ("status", "cause"), [(401, "refuses the login"), (403, "refuses the login"), (500, "answers")]
)
def test_a_server_that_refuses_is_named_with_its_address(
    status: int, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with refusing(status) as address:
        of_prefect = [
            caught(lambda: httpx.get(address.replace("//", "//me:hidden@")).raise_for_status()),
            caught(lambda: request_json("GET", address, {})),
        ]
        of_mlflow = [
            caught(lambda: MlflowClient(address).search_experiments()),
            caught(lambda: requests.get(address, timeout=5).raise_for_status()),
        ]
    for reason in map(str, map(explain, of_prefect)):
        assert reason.startswith(f"Prefect {cause}")
        assert f"(HTTP {status} at {address})" in reason
        assert "hidden" not in reason
    assert all(str(explain(error)).startswith(f"MLflow {cause}") for error in of_mlflow)


def test_nothing_of_a_server_that_knows_no_answer_is_an_outage() -> None:
    with refusing(404) as address:
        assert explain(caught(lambda: httpx.get(address).raise_for_status())) is None
        assert explain(caught(lambda: requests.get(address, timeout=5).raise_for_status())) is None


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, "A disk is full"),
        (errno.EDQUOT, "A disk is full"),
        (errno.EROFS, "A disk is read-only"),
        (errno.EACCES, "A file or folder may not be used"),
        (errno.EIO, "A disk or a file cannot be read or written"),
        (errno.ESTALE, "A disk or a file cannot be read or written"),
        (errno.EMFILE, "The system allows no more open files"),
        (errno.ECONNREFUSED, "A server cannot be reached"),
    ],
)
def test_an_error_of_the_system_is_recognised_in_the_words_of_every_library(number: int, cause: str) -> None:
    words = f"{os.strerror(number)} (os error {number})"
    errors = [OSError(number, os.strerror(number), "/lake/x")]
    if number != errno.ECONNREFUSED:
        errors += [OSError(f"Generic LocalFileSystem error: {words}"), DeltaError(words), duckdb.IOException(words)]
        errors += [pa.ArrowInvalid(words)]
    for error in errors:
        assert str(explain(error)).startswith(cause), repr(error)


def test_a_lake_that_cannot_be_read_is_an_outage(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write_dataset("v", "users", pa.table({"a": [1]}))
    table = tmp_path / "datasets" / "v" / "users"
    next((table / "_delta_log").iterdir()).write_text("{")
    error = caught(lambda: DeltaTable(str(table)))
    assert "lake" in str(explain(error)), repr(error)
    with duckdb.connect() as connection:
        missing = caught(lambda: connection.execute(f"SELECT * FROM '{tmp_path}/gone.parquet'"))
    assert str(explain(missing)).startswith("The lake cannot be read")


@pytest.mark.parametrize("words", ["403 Forbidden: AccessDenied", "error sending request"])
def test_an_object_store_that_refuses_is_distinguished_from_one_that_is_away(words: str) -> None:
    reason = str(explain(OSError(f"Generic S3 error: Error performing GET: {words}")))
    assert ("refuses access" in reason) == ("403" in words)
    assert ("cannot be reached" in reason) == ("403" not in words)


def test_an_outage_is_found_wherever_it_is_in_a_chain_of_errors() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    caused, grouped, noticed = RuntimeError("flow failed"), ExceptionGroup("two", [KeyError("x"), full]), KeyError("y")
    caused.__cause__, noticed.__context__ = full, full
    for error in (caused, grouped, noticed):
        assert str(explain(error)).startswith("A disk is full")
    full.__cause__ = caused  # a circle ends
    assert list(chain(caused)) == [caused, full]
    noticed.__suppress_context__ = True  # as `raise … from None` does
    assert explain(noticed) is None
