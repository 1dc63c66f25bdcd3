"""Workers run soon after they wake, where the kernel and `chrt` can do that."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, threading
from pathlib import Path
from serving.api.startup.__main__ import take_short_slices
os.nice(3)
take_short_slices()
def show():
    print(Path(f"/proc/self/task/{threading.get_native_id()}/sched").read_text(), "niceness :", os.nice(0))
show()
thread = threading.Thread(target=show)
thread.start()
thread.join()
"""


def slices_and_niceness(path: str) -> tuple[list[int], list[int]]:
    """Return what the main thread and a thread that it starts have, of a process that asked for short slices."""
    environment = {**os.environ, "PATH": path}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    return (
        [int(value) for value in re.findall(r"se\.slice +: +(\d+)", done.stdout)],
        [int(value) for value in re.findall(r"niceness : (\d+)", done.stdout)],
    )


def own_slice() -> int:
    file = Path("/proc/self/sched")
    stated = re.search(r"se\.slice +: +(\d+)", file.read_text()) if file.exists() else None
    return int(stated[1]) if stated else 0


def test_a_process_and_its_threads_get_short_slices_and_keep_their_niceness() -> None:
    command = ["chrt", "--other", "--sched-runtime", "100000", "0", "true"]
    if not own_slice() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("the kernel or chrt has no slices of one process")
    before, niceness = own_slice(), os.nice(0) + 3
    assert slices_and_niceness(os.environ["PATH"]) == ([100_000, 100_000], [niceness] * 2)
    assert own_slice() == before


def test_nothing_changes_without_chrt(tmp_path: Path) -> None:
    found, niceness = slices_and_niceness(str(tmp_path))
    assert found == [own_slice()] * len(found)
    assert len(niceness) == 2
