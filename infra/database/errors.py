"""Removes row values from errors of PostgreSQL, which are shown in logs, on pages of runs and in the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

_BAD_VALUE: Final = "22"
"""The class of codes for invalid values: even the first line of these messages quotes the value."""


def hide_values(engine: Engine) -> None:
    """Remove values from every error that statements of this engine raise."""
    event.listen(engine, "handle_error", _handle)


@contextmanager
def values_hidden() -> Iterator[None]:
    """Remove values from errors of a cursor that is used without SQLAlchemy, as for COPY."""
    try:
        yield
    except psycopg2.Error as error:
        error.args = (_text(error),)
        raise


def _handle(context: ExceptionContext) -> None:
    error: Any = context.original_exception
    wrapped = context.sqlalchemy_exception
    if not isinstance(error, psycopg2.Error) or not error.pgcode:
        return  # a failed connection: the message names hosts and no row
    error.args = (_text(error),)
    if wrapped is not None:
        wrapped.args = (f"({type(error).__module__}.{type(error).__name__}) {error.args[0]}",)


def _text(error: psycopg2.Error) -> str:
    """Return the server's first line without DETAIL, CONTEXT and LINE, which contain keys, rows and statements."""
    if not error.pgcode:
        return str(error)
    if error.pgcode.startswith(_BAD_VALUE):
        return f"a value was refused (code {error.pgcode})"
    return error.diag.message_primary or f"code {error.pgcode}"
