"""Keeps what the placements of a run are decided from, until one of them makes lists.

A run with nothing new reads everything once. One that makes lists works on for long: the next placement reads what is
known by then.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

from infra.installation import Installation
from tasks.lake.event_engine import EventEngine, event_engine
from tasks.lake.reference_data import ReferenceData, read_reference_data

T = TypeVar("T")
_ENGINE: Final = "engine"


class _Reads:
    """What was read of one moment; `known` names it."""

    def __init__(self) -> None:
        self.known: ReferenceData | None = None
        self.stack = ExitStack()
        self._kept: dict[Hashable, Any] = {}

    def read_once(self, key: Hashable, read: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = read()
        return cast(T, self._kept[key])

    def release_shared_reads(self) -> None:
        self.known = None
        self._kept.clear()
        self.stack.close()


_READS: Final[ContextVar[_Reads | None]] = ContextVar("reads of a run", default=None)


@contextmanager
def shared_reads() -> Iterator[None]:
    """Within the block, keep what is read below until `release_shared_reads`."""
    reads = _Reads()
    outer = _READS.set(reads)
    try:
        yield
    finally:
        _READS.reset(outer)
        reads.release_shared_reads()


def release_shared_reads() -> None:
    """Forget what was read, and give its memory back."""
    if reads := _READS.get():
        reads.release_shared_reads()


def shared_reference_data(installation: Installation) -> ReferenceData:
    """Return everything that is known without its history, as the run has read it, or as it stands."""
    reads = _READS.get()
    if reads is None:
        return read_reference_data(installation, history=False)
    if reads.known is None:
        reads.known = read_reference_data(installation, history=False)
    return reads.known


def read_once(known: ReferenceData, key: Hashable, read: Callable[[], T]) -> T:
    """Return what `read` gave for that key before, if the run has read `known`; else what it gives now."""
    reads = _of(known)
    return reads.read_once(key, read) if reads else read()


@contextmanager
def shared_event_engine(installation: Installation, known: ReferenceData | None) -> Iterator[EventEngine | None]:
    """Open an engine on the events, the run's if that has read `known`. None without events."""
    reads = _of(known)
    if reads is None:
        with event_engine(installation, known) as own:
            yield own
        return
    try:
        yield reads.read_once(_ENGINE, lambda: reads.stack.enter_context(event_engine(installation, known)))
    except BaseException:
        reads.release_shared_reads()  # an engine that failed may answer nothing any more
        raise


def _of(known: ReferenceData | None) -> _Reads | None:
    reads = _READS.get()
    return reads if reads and known is not None and reads.known is known else None
