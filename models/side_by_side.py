"""The parts of some work on all processors, each part in one thread."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from models.blas_threads import one_blas_thread

P = TypeVar("P")
R = TypeVar("R")


def side_by_side(work: Callable[[P], R], parts: Sequence[P]) -> list[R]:
    """What `work` makes of each part, in order. NumPy and the kernels let others work meanwhile.

    Threads of the libraries inside those of the parts would only get into each other's way; and where other processes
    want the same processors, threads that wait for each other are many times as slow as one alone.
    """
    if len(parts) > 1:
        with one_blas_thread(), ThreadPoolExecutor(min(len(parts), processors()), initializer=alone) as pool:
            return list(pool.map(work, parts))
    with _openmp().limit(limits=1):
        return [work(part) for part in parts]


def processors() -> int:
    """How many parts are worked on at a time."""
    return os.cpu_count() or 1


def alone() -> None:
    """Hold OpenMP to one thread wherever this thread asks for it; of other threads it is not true."""
    _openmp().limit(limits=1)


@cache
def _openmp() -> Any:
    import faiss  # noqa: F401 - what is opened later would not be among them
    import xgboost  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")
