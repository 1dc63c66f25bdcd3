"""BLAS held to one thread, for code that has threads of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

_ALONE: Final = Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The limit is the process's own: of two who set it at a time the one would take back what the other has set."""
    from threadpoolctl import threadpool_limits

    with _ALONE, threadpool_limits(1, "blas"):
        yield
