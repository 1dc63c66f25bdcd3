"""Prevents a rotation of the pseudonym key during a step that reads or stores user keys."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from infra.installation import current
from infra.locks.advisory_locks import locked

P = ParamSpec("P")
T = TypeVar("T")


def hold_pseudonym_key(step: Callable[P, T]) -> Callable[P, T]:
    """Return a step during which no rotation can begin; it raises KeyRotatingError during a rotation."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with locked(current().engine, purpose=step.__name__.replace("_", " ")):
            return step(*args, **kwargs)

    return run
