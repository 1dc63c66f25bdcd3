"""Reads for many requests at once: each statement reads what all requests ask for that wait at that moment."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain
from typing import Final, Generic, TypeVar

_MOST: Final = 64
"""Keys per statement."""
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class SharedReads(Generic[_Key, _Value]):
    """Reads each key with at most one statement at a time, and uses few statements at all under load."""

    def __init__(self, read: Callable[[Sequence[_Key]], Awaitable[Sequence[_Value]]], connections: int) -> None:
        """`read` returns a value for each key; it uses at most half of the connections at a time."""
        self._read = read
        self._free = max(1, connections // 2)
        self._waiting: dict[_Key, list[asyncio.Future[_Value]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: _Key) -> _Value:
        """Return the value of a key. Raises the error of the statement."""
        future: asyncio.Future[_Value] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._read_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _read_waiting(self) -> None:
        """Read what waits, until nothing waits."""
        try:
            while self._waiting:
                keys = list(self._waiting)[:_MOST]
                futures = [self._waiting.pop(key) for key in keys]
                try:
                    values = await self._read(keys)
                except Exception as error:  # whatever it is: a request would wait for ever
                    for future in chain.from_iterable(futures):
                        if not future.done():
                            future.set_exception(error)
                    continue
                for waiting, value in zip(futures, values, strict=True):
                    for future in waiting:
                        if not future.done():  # its request may be gone
                            future.set_result(value)
        finally:
            self._free += 1
