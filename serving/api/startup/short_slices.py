"""Asks the scheduler of Linux to let this process run soon after it wakes.

An answer takes a fraction of a millisecond, but the kernel lets another process, such as a move of messages, finish its
slice first. A process with shorter slices gets no larger share of the processors; it gets its share earlier. It needs
no right, and Linux before 6.12 ignores it.
"""

import ctypes
import os
import platform
import struct
from typing import Final

_SLICE: Final = 100_000
"""Nanoseconds: the shortest slice."""
_NUMBERS: Final = {"x86_64": 314, "aarch64": 274}
"""The number of the call `sched_setattr`, which Python's `os` lacks."""
_ATTRIBUTES: Final = struct.Struct("IIQiIQQQ")
"""Size, policy, flags, niceness, priority, slice, deadline and period."""


def take_short_slices() -> None:
    """Give short slices to this thread, and to the threads and processes that it starts from now on.

    Nothing changes elsewhere than on Linux, or under a policy that somebody chose for this process. A refusal, such as
    that of a container, changes nothing either.
    """
    _take(_SLICE)


def take_usual_slices() -> None:
    """Give this thread slices as long as those of other processes."""
    _take(0)


def _take(nanoseconds: int) -> None:
    number = _NUMBERS.get(platform.machine()) if platform.system() == "Linux" else None
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, niceness, 0, nanoseconds, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, wanted, 0)
