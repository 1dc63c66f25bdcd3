"""Run work in threads, with the libraries below it, without using more threads than the caller may.

OpenMP holds that number per thread. A process starts with OMP_NUM_THREADS or its processors, and the threads of a pool
share the number of the thread that opens it.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from threading import Lock, local
from typing import Any, Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_WAITING: Final = 2
"""Most results, finished or in progress, that a prefetching map holds."""
_USE_OPENMP: Final = frozenset({"faiss", "implicit", "lightfm", "sklearn", "xgboost"})
"""Libraries that may each bring an OpenMP of their own."""
_MEASURING: Final = Lock()
_HERE: Final = local()
"""Of each thread: the libraries that `limit_this_thread` limited."""


def allowed_threads() -> int:
    """Return how many threads the calling thread may use."""
    import faiss

    return int(faiss.omp_get_max_threads())


@contextmanager
def thread_pool(most: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of at most `most` threads that share the threads of the caller."""
    allowed = allowed_threads()
    threads = max(1, min(most, allowed))
    with ThreadPoolExecutor(threads, initializer=partial(_limit_openmp, allowed // threads)) as pool:
        yield pool


def parallel_map(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Return the result of `work` for each part, in order; each part has one thread.

    Threads of a library inside a part change how it splits products, and so their last digits: one thread gives the
    same result on every machine.
    """
    if _is_limited():
        return [work(part) for part in parts]
    threads = min(len(parts), allowed_threads())
    if threads < 2:
        with _limit_openmp(1):
            return [work(part) for part in parts]
    with ThreadPoolExecutor(threads, initializer=partial(_limit_openmp, 1)) as pool:
        return list(pool.map(work, parts))


def prefetch_map(work: Callable[[T], R], pieces: Iterable[T], threads: int) -> Iterator[R]:
    """Yield the result of `work` for each piece, in order, and work on the next pieces meanwhile."""
    if isinstance(pieces, Sequence) and len(pieces) < 2:  # starting threads takes longer than the work on one user
        yield from map(work, pieces)
        return
    remaining = iter(pieces)
    with thread_pool(threads) as pool:
        waiting = deque(pool.submit(work, piece) for piece in islice(remaining, _WAITING))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(work, piece) for piece in islice(remaining, 1))
            yield done


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit the calling thread, the pools it opens and the libraries below them to one thread.

    BLAS has one limit for the whole process, so one caller at a time holds it.
    """
    from threadpoolctl import threadpool_limits

    allowed_threads()  # loads the library whose OpenMP all pools use
    with _MEASURING, threadpool_limits(1):
        yield


def limit_this_thread() -> None:
    """Limit the libraries in the calling thread to one thread from now on."""
    allowed_threads()  # loads the library whose OpenMP all models use
    _limit_openmp(1)
    _HERE.libraries = _loaded()


def _is_limited() -> bool:
    """Return whether this thread is limited for good: to limit it for each call takes longer than the work on a user.

    Libraries that were loaded since are limited now.
    """
    libraries = getattr(_HERE, "libraries", None)
    if libraries is not None and libraries != _loaded():
        limit_this_thread()
    return libraries is not None


def _loaded() -> frozenset[str]:
    return frozenset(name for name in _USE_OPENMP if name in sys.modules)


def _limit_openmp(threads: int) -> Any:
    """Limit OpenMP in this thread; as a context, until its end."""
    return _openmp(_loaded()).limit(limits=threads)


@cache
def _openmp(loaded: frozenset[str]) -> Any:  # noqa: ARG001 - libraries loaded later may have an OpenMP of their own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")
