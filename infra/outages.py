"""Recognises outages: an unreachable or refusing server, a full or read-only disk. Imports none of their clients."""

import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from infra.configuration import addresses

_STATUS: Final = "`tailorbird status` shows what runs and `tailorbird up` starts what is missing."
_AGAIN: Final = "Nothing is lost: then run the same command again."
_SCHEMA: Final = frozenset({"42P01", "42703", "3F000"})
_BUSY: Final = frozenset({"40001", "40P01", "55P03", "57014"})
_DATABASE_CLASSES: Final = ("OperationalError", "InterfaceError")
# Connections, shutdowns, logins, missing databases, files of PostgreSQL: asyncpg has no class for all of them.
_DATABASE_AWAY: Final = re.compile(r"08...|57P0[1-5]|28...|3D000|58...")
_LOGIN_TEXT: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|(role|database) \"[^\"]*\" does not exist"
)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IO_ERRORS: Final = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOTCONN, errno.EUCLEAN)
# deltalake, DuckDB and pyarrow pass on the system's message, with or without its number.
_FULL_TEXT: Final = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|os error (28|122|27)\b|Could not write all bytes"
)
_STORE_REFUSES: Final = re.compile(r"\b40[13]\b|AccessDenied|Forbidden|Unauthorized|InvalidAccessKey|Signature")
_MLFLOW: Final = ("mlflow.exceptions.MlflowException", "requests.exceptions.RequestException")
_MLFLOW_STATUS: Final = re.compile(r"error code (\d{3})|^(\d{3}) (?:Client|Server) Error|too many (\d{3}) error")
_LIBRARIES: Final = ("_internal.DeltaError", "_duckdb.Error", "pyarrow.lib.ArrowException")
_LONGEST_DETAIL: Final = 300


@dataclass(frozen=True)
class _Outage:
    """One kind of outage: a test for its errors, the cause, and the next step."""

    means: Callable[[BaseException], bool]
    cause: str
    step: str = _STATUS


def explain(error: BaseException) -> str | None:
    """Return the cause and the next step of an outage; None for other errors.

    It checks the error and all its causes, because Prefect, SQLAlchemy and Optuna wrap errors.
    """
    errors = list(chain(error))
    for outage in _OUTAGES:
        for link in errors:
            if outage.means(link):
                detail = _detail(link)
                return f"{outage.cause}{f' ({detail})' if detail else ''}. {outage.step} {_AGAIN}"
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, then its causes, each once: `raise from`, context, members of groups, and drivers' errors."""
    waiting, seen = [error], set()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        context = None if link.__suppress_context__ else link.__context__
        led = [getattr(link, "orig", None), getattr(link, "reason", None), link.__cause__ or context]
        led += getattr(link, "exceptions", ()) if isinstance(link, BaseExceptionGroup) else ()
        waiting += [cause for cause in led if isinstance(cause, BaseException)]


def _is_a(error: BaseException, *names: str) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def _code(error: BaseException) -> str:
    """Return the PostgreSQL code of an error of psycopg2 or asyncpg; empty without one."""
    if type(error).__module__.partition(".")[0] not in ("psycopg2", "asyncpg"):
        return ""
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or ""


def _has_code(*codes: str) -> Callable[[BaseException], bool]:
    return lambda error: _code(error) in codes


def _database_away(error: BaseException) -> bool:
    drivers = (f"{module}.{name}" for module in ("psycopg2", "sqlalchemy.exc") for name in _DATABASE_CLASSES)
    return _is_a(error, *drivers) or bool(_DATABASE_AWAY.fullmatch(_code(error)))


def _login_refused(error: BaseException) -> bool:
    """Return whether a login failed. For failures while connecting, libpq has no code, only the server's message."""
    if re.fullmatch(r"28...|3D000", _code(error)):
        return True
    return _database_away(error) and bool(_LOGIN_TEXT.search(str(error)))


def _system(text: str, *numbers: int) -> Callable[[BaseException], bool]:
    """Return a test for the system's error numbers, or for its messages in errors of the libraries that write files."""
    pattern = re.compile(text)

    def means(error: BaseException) -> bool:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        return (isinstance(error, OSError) or _is_a(error, *_LIBRARIES)) and bool(pattern.search(str(error)))

    return means


_store: Final = _system(r"Generic (S3|GCS|MicrosoftAzure|HTTP client) error")
"""Tests whether deltalake's client of object stores gave up."""


def _status(error: BaseException) -> int:
    """Return the HTTP status that a server refused with, or 0."""
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) and isinstance(error, Exception) else 0


def _refused(*statuses: int) -> Callable[[int], bool]:
    return lambda status: status in statuses


def _failed(status: int) -> bool:
    return status >= 500 or status in (408, 429)


def _prefect(answered: Callable[[int], bool]) -> Callable[[BaseException], bool]:
    kinds = ("httpx.HTTPStatusError", "urllib.error.HTTPError")
    return lambda error: _is_a(error, *kinds) and answered(_status(error))


def _prefect_away(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return "Failed to reach API at " in str(error)
    return _is_a(error, "httpx.TransportError") or type(error).__name__ == "URLError"


def _mlflow(answered: Callable[[int], bool]) -> Callable[[BaseException], bool]:
    def means(error: BaseException) -> bool:
        if not _is_a(error, *_MLFLOW):
            return False
        match = _MLFLOW_STATUS.search(str(error))
        status = int(next(filter(None, match.groups()))) if match else 0
        if not status and _is_a(error, "mlflow.exceptions.RestException"):
            status = int(error.get_http_status_code())  # type: ignore[attr-defined]  # `_is_a` knows the class
        return answered(status)

    return means


def _mlflow_away(error: BaseException) -> bool:
    if _is_a(error, "mlflow.exceptions.MlflowException"):
        return "failed with exception" in str(error)
    return _is_a(error, "requests.exceptions.ConnectionError", "requests.exceptions.Timeout")


def _detail(error: BaseException) -> str:
    """Return the first line of the message, without logins and without a server's response body."""
    if status := _status(error):
        address = str(getattr(getattr(error, "request", None), "url", "") or getattr(error, "url", "") or "")
        return f"HTTP {status}{f' at {addresses.shown(address)}' if address else ''}"
    lines = str(getattr(error, "orig", None) or getattr(error, "reason", None) or error).strip().splitlines()
    first = addresses.redact(lines[0]).partition(" Response body")[0] if lines else ""
    return first.rstrip(".")[:_LONGEST_DETAIL]


_FOREIGN: Final = "another program may answer at that address."
_OUTAGES: Final = (
    _Outage(_has_code("53100"), "The disk of PostgreSQL is full", "Free space there."),
    _Outage(_system(_FULL_TEXT.pattern, *_FULL), "A disk is full", "Free space there, or move `var` or the lake."),
    _Outage(
        _system(r"Read-only file system|os error 30\b", errno.EROFS),
        "A disk is read-only",
        "Make it writable, or move `var` or the lake.",
    ),
    _Outage(
        _system(r"Input/output error|Stale file handle|os error (5|116)\b", *_IO_ERRORS),
        "A disk or a file cannot be read or written",
        "Check that disk, or where it is mounted from.",
    ),
    _Outage(
        _system(r"Too many open files|os error (23|24)\b", errno.EMFILE, errno.ENFILE),
        "The system allows no more open files",
        "Raise the limit (`ulimit -n 4096`).",
    ),
    _Outage(_has_code("53300"), "PostgreSQL has no connection left", "Stop other programs, or raise max_connections."),
    _Outage(_has_code("53200"), "PostgreSQL has no memory left", "Free memory on its machine."),
    _Outage(_has_code("25006"), "PostgreSQL is read-only", "Connect to the primary server (TAILORBIRD_DATABASE_URL)."),
    _Outage(_has_code("42501"), "The database user lacks a right", "Grant it to the user of TAILORBIRD_DATABASE_URL."),
    _Outage(
        _has_code(*_SCHEMA),
        "The database has no tables of Tailorbird yet, or those of another version",
        "Run `tailorbird up`, which brings them up to date.",
    ),
    _Outage(_has_code(*_BUSY), "The database was busy with other work on the same rows", "Wait until that is done."),
    _Outage(
        _login_refused,
        "PostgreSQL refuses the login or has no such database",
        "Check user, password and database of TAILORBIRD_DATABASE_URL; without it, `tailorbird up` corrects the login.",
    ),
    _Outage(
        _database_away,
        "The database went away or cannot be reached",
        f"If TAILORBIRD_DATABASE_URL is set, check it and its server. {_STATUS}",
    ),
    _Outage(
        lambda error: _store(error) and bool(_STORE_REFUSES.search(str(error))),
        "The object store refuses access",
        "Check its credentials (AWS_ACCESS_KEY_ID and so on) and rights.",
    ),
    _Outage(_store, "The object store cannot be reached", "Check the network and AWS_ENDPOINT_URL."),
    _Outage(
        _prefect(_refused(401, 403)),
        "Prefect refuses the login",
        f"Check PREFECT_API_URL and PREFECT_API_AUTH_STRING: {_FOREIGN}",
    ),
    _Outage(_prefect(_failed), "Prefect answers with an error"),
    _Outage(_prefect_away, "Prefect cannot be reached"),
    _Outage(
        _mlflow(_refused(401, 403)),
        "MLflow refuses the login",
        f"Check MLFLOW_TRACKING_URI and MLFLOW_TRACKING_USERNAME: {_FOREIGN}",
    ),
    _Outage(_mlflow(_failed), "MLflow answers with an error"),
    _Outage(_mlflow_away, "MLflow cannot be reached"),
    _Outage(
        _system(r"Permission denied|os error 13\b", errno.EACCES, errno.EPERM),
        "A file or folder may not be used",
        "Give this user access to it.",
    ),
    _Outage(
        lambda error: (
            isinstance(error, MemoryError)
            or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
            or _is_a(error, "_duckdb.OutOfMemoryException")
        ),
        "There is not enough memory",
        "Stop other programs, or lower TAILORBIRD_MEMORY so that queries use the disk.",
    ),
    _Outage(
        lambda error: _is_a(error, "_duckdb.IOException", "_internal.DeltaError"),
        "The lake cannot be read or written",
        "Check TAILORBIRD_LAKE and restore what is missing there.",
    ),
    _Outage(lambda error: isinstance(error, ConnectionError | TimeoutError), "A server cannot be reached"),
)
