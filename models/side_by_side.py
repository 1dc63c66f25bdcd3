"""The parts of some work on all processors, each part in one thread."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from models.blas_threads import one_blas_thread

P = TypeVar("P")
R = TypeVar("R")


def side_by_side(work: Callable[[P], R], parts: Sequence[P]) -> list[R]:
    """What `work` makes of each part, in order. NumPy and the kernels let others work meanwhile.

    Threads of the libraries inside those of the parts would only get into each other's way. A single part has them.
    """
    if len(parts) < 2:
        return [work(part) for part in parts]
    with one_blas_thread(), ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1), initializer=_alone) as pool:
        return list(pool.map(work, parts))


def _alone() -> None:
    """OpenMP's threads are those of the thread that asks for them."""
    import faiss  # noqa: F401 - what is opened later would not know
    from threadpoolctl import ThreadpoolController

    ThreadpoolController().limit(limits=1, user_api="openmp")
