"""Sizes the thread pools of OpenMP and BLAS. It has to run before the libraries are loaded."""

import os
from contextlib import suppress
from pathlib import Path


def size_pools() -> None:
    """Set the size and the wait policy of native thread pools for this process and its children.

    Variables that are set already stay. Waiting OpenMP threads spin by default, and those of OpenBLAS always do. Beside
    another busy process they use the CPU time that the other threads need. So OpenMP threads sleep while they wait, and
    BLAS has one thread: `models.primitives.threads` runs work in parallel.
    """
    defaults = {"OMP_NUM_THREADS": str(processors()), "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def processors() -> int:
    """Return how many processors this process may use, from its affinity and the quota of its control group."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return usable if quota is None else max(1, min(usable, round(quota)))


def _quota(own: Path, groups: Path) -> float | None:
    """Return the processors that a control group (version 2) grants, None without a limit."""
    with suppress(OSError, ValueError):  # no such group, or "max"
        group = next((line[3:] for line in own.read_text().splitlines() if line.startswith("0::")), "")
        granted, period = (groups / group.lstrip("/") / "cpu.max").read_text().split()
        return int(granted) / int(period)
    return None
