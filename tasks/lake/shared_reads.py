"""Shares the data that the placements of a run are decided from, until one of them builds lists.

A run with nothing new reads all data once. Building lists takes long, so the next placement reads again.
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
    """Data read at one moment, which `reference` identifies."""

    def __init__(self) -> None:
        self.reference: ReferenceData | None = None
        self.stack = ExitStack()
        self._results: dict[Hashable, Any] = {}

    def read_once(self, key: Hashable, read: Callable[[], T]) -> T:
        if key not in self._results:
            self._results[key] = read()
        return cast(T, self._results[key])

    def release_shared_reads(self) -> None:
        self.reference = None
        self._results.clear()
        self.stack.close()


_READS: Final[ContextVar[_Reads | None]] = ContextVar("reads of a run", default=None)


@contextmanager
def shared_reads() -> Iterator[None]:
    """Within the block, keep the results of the functions below until `release_shared_reads`."""
    reads = _Reads()
    outer = _READS.set(reads)
    try:
        yield
    finally:
        _READS.reset(outer)
        reads.release_shared_reads()


def release_shared_reads() -> None:
    """Discard the results, and free their memory."""
    if reads := _READS.get():
        reads.release_shared_reads()


def shared_reference_data(installation: Installation) -> ReferenceData:
    """Return reference data without history: the run's, or else the current data."""
    reads = _READS.get()
    if reads is None:
        return read_reference_data(installation, history=False)
    if reads.reference is None:
        reads.reference = read_reference_data(installation, history=False)
    return reads.reference


def read_once(reference: ReferenceData, key: Hashable, read: Callable[[], T]) -> T:
    """Return the earlier result of `read` for the key if the run shares `reference`, or else a new one."""
    reads = _reads_of(reference)
    return reads.read_once(key, read) if reads else read()


@contextmanager
def shared_event_engine(installation: Installation, reference: ReferenceData | None) -> Iterator[EventEngine | None]:
    """Open an engine on the events: the run's, if the run shares `reference`. None without events."""
    reads = _reads_of(reference)
    if reads is None:
        with event_engine(installation, reference) as engine:
            yield engine
        return
    try:
        yield reads.read_once(_ENGINE, lambda: reads.stack.enter_context(event_engine(installation, reference)))
    except BaseException:
        reads.release_shared_reads()  # a failed engine may be unusable
        raise


def _reads_of(reference: ReferenceData | None) -> _Reads | None:
    reads = _READS.get()
    return reads if reads and reference is not None and reads.reference is reference else None
