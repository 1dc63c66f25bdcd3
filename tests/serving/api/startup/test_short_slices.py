"""Answers run soon after they wake: on kernels that can do that."""

import ctypes
import os
import platform
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.api.startup.short_slices import take_short_slices, take_usual_slices

GETATTR = {"x86_64": 315, "aarch64": 275}


def present_slice() -> int:
    """Return the slice of this thread in nanoseconds; 0 if the kernel states none."""
    form, buffer = struct.Struct("IIQiIQQQ"), ctypes.create_string_buffer(48)
    number = GETATTR.get(platform.machine()) if platform.system() == "Linux" else None
    if number is not None:
        ctypes.CDLL(None).syscall(number, 0, buffer, form.size, 0)
    return int(form.unpack(buffer.raw)[5])


pytestmark = pytest.mark.skipif(present_slice() == 0, reason="the kernel has no slices of one process")


def shortened() -> tuple[int, int, int, int]:
    """Return the slice and the niceness of a thread before and after."""
    before = present_slice(), os.getpriority(os.PRIO_PROCESS, 0)
    take_short_slices()
    return *before, present_slice(), os.getpriority(os.PRIO_PROCESS, 0)


def test_a_thread_gets_short_slices_and_hands_them_on_and_others_keep_theirs() -> None:
    own = present_slice()
    with ThreadPoolExecutor(1) as pool:
        before, niceness, after, same = pool.submit(shortened).result()
        with ThreadPoolExecutor(1) as inner:
            inherited = pool.submit(lambda: inner.submit(present_slice).result()).result()
    assert before == own > after == inherited
    assert niceness == same
    assert present_slice() == own


def test_a_thread_gets_its_usual_slices_back() -> None:
    def there_and_back() -> int:
        take_short_slices()
        take_usual_slices()
        return present_slice()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(there_and_back).result() == present_slice()


@pytest.mark.parametrize("machine", ["riscv64", ""])
def test_nothing_changes_on_another_processor(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    take_short_slices()
    monkeypatch.undo()
    assert present_slice() > 100_000
