"""Guards steps: no error quotes a row, since Prefect stores errors, and no rotation of the pseudonym key begins."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from traceback import extract_tb
from typing import Final, ParamSpec, TypeVar

import psycopg2
from deltalake.exceptions import DeltaError
from sqlalchemy.exc import SQLAlchemyError

from infra.installation import current
from infra.locks import locked
from infra.outages import explain
from models.errors import LedgerError, TailorbirdError

P = ParamSpec("P")
T = TypeVar("T")
_WITHOUT_VALUES: Final = (TailorbirdError, LedgerError, OSError, DeltaError, SQLAlchemyError, psycopg2.Error)
"""Errors whose messages quote no row: our own, and those of files, stores and PostgreSQL (infra.database.engine)."""
_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("flows", "tasks", "expectations", "infra", "models")


class DefectError(RuntimeError):
    """An unexpected error on rows. The message has the type of the error and the place in the code, but no value."""


def without_values(step: Callable[P, T]) -> Callable[P, T]:
    """Return a step whose errors quote no row; errors that might do so are raised as a DefectError."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except _WITHOUT_VALUES:
            raise
        except Exception as error:
            if explain(error) is not None:
                raise
            raise DefectError(_describe(error)) from None

    return run


def _describe(error: Exception) -> str:
    frames = [(Path(frame.filename), frame.lineno) for frame in extract_tb(error.__traceback__)]
    own = [(file.relative_to(_ROOT), line) for file, line in frames if file.is_relative_to(_ROOT)]
    place = [f"{file}:{line}" for file, line in own if file.parts[0] in _PACKAGES]
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return (
        f"{kind} at {', '.join(place)}. The message is left out, since it may quote a row. This is a defect of "
        "Tailorbird: report it with this text; the same command can be run again."
    )


def hold_pseudonym_key(step: Callable[P, T]) -> Callable[P, T]:
    """Return a step during which no rotation can begin; it raises KeyRotatingError during a rotation."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with locked(current().engine, purpose=step.__name__.replace("_", " ")):
            return step(*args, **kwargs)

    return run
