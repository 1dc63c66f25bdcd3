"""Errors of PostgreSQL without the rows that they quote: they end in logs, on pages of runs and in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

_BAD_VALUE: Final = "22"
"""Class of the codes for a value that cannot be stored: even the first line of their messages quotes it."""


def hide_values(engine: Engine) -> None:
    """Take values out of every error that statements of this engine raise."""
    event.listen(engine, "handle_error", _handle)


@contextmanager
def values_hidden() -> Iterator[None]:
    """Take values out of errors of a cursor that is used without SQLAlchemy, as for COPY."""
    try:
        yield
    except psycopg2.Error as error:
        error.args = (_text(error),)
        raise


def _handle(context: ExceptionContext) -> None:
    error: Any = context.original_exception
    wrapped = context.sqlalchemy_exception
    if not isinstance(error, psycopg2.Error) or not error.pgcode:
        return  # of a connection that failed: it names hosts, and no row
    error.args = (_text(error),)
    if wrapped is not None:
        wrapped.args = (f"({type(error).__module__}.{type(error).__name__}) {error.args[0]}",)


def _text(error: psycopg2.Error) -> str:
    """Return the server's first line; DETAIL, CONTEXT and LINE are left out, as they hold keys, rows and statements."""
    if not error.pgcode:
        return str(error)
    if error.pgcode.startswith(_BAD_VALUE):
        return f"a value was refused (code {error.pgcode})"
    return error.diag.message_primary or f"code {error.pgcode}"
