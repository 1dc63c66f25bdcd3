"""Work on the next pieces while somebody is busy with the last."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_WAITING = 2
"""Results, done or being made, that nobody has asked for yet: memory is bounded by so many."""


def ahead(work: Callable[[T], R], pieces: Iterable[T], threads: int) -> Iterator[R]:
    """What `work` makes of each of the pieces, in their order."""
    left = iter(pieces)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, piece) for piece in islice(left, _WAITING))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(work, piece) for piece in islice(left, 1))
            yield done
