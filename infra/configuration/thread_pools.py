"""Sizes the thread pools of OpenMP and BLAS. The libraries read this when they are loaded, so it runs before that."""

import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def size_pools() -> None:
    """Set the size and the waiting of native thread pools for this process and its children; own settings win.

    Waiting OpenMP threads spin by default, and those of OpenBLAS always do. Beside another busy process they burn the
    time that the thread they wait for needs. So OpenMP waits asleep, and BLAS has one thread:
    `models.primitives.threads` works on parts in parallel.
    """
    defaults = {"OMP_NUM_THREADS": str(processors()), "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def processors() -> int:
    """Return how many processors this process may use: by its affinity and by the quota of its control group."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/proc/self/cgroup"), _CGROUPS)
    return usable if quota is None else max(1, min(usable, round(quota)))


def _quota(own: Path, groups: Path) -> float | None:
    """Return the processors that a control group (version 2) grants, None without a limit."""
    with suppress(OSError, ValueError):  # no such group, or "max"
        group = next((line[3:] for line in own.read_text().splitlines() if line.startswith("0::")), "")
        granted, period = (groups / group.lstrip("/") / "cpu.max").read_text().split()
        return int(granted) / int(period)
    return None
