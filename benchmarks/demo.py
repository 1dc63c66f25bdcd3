"""Measures the demo on a fresh installation: seconds per flow, peak memory, and the share of orchestration.

Orchestration is the cost of Prefect and MLflow: the time of the run outside its tasks, and the calls to either server
inside them. Setup of the environment does not count; the start of the servers is shown separately.
"""

import atexit
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.results import FOLDER, publish

SEED = 7


class Stopwatch:
    """Sums the seconds spent in the functions that it wraps; nested calls count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def wrap(self, owner: Any, name: str) -> None:
        """Put a timer around `owner.name`."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.running():
                return inner(*args, **kwargs)

        setattr(owner, name, timed)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the time of a block."""
        self._depth += 1
        started = time.perf_counter()
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.seconds += time.perf_counter() - started


@contextmanager
def peak_memory(figures: dict[str, float]) -> Iterator[None]:
    """Track the highest sum of proportional set sizes (MB) of this process and its servers."""
    done, peak = threading.Event(), [0.0]

    def sample() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], _memory())

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    yield
    done.set()
    watcher.join()
    figures["peak_mb"] = peak[0]


def _memory() -> float:
    total = 0.0
    var = os.environ["TAILORBIRD_VAR"]
    for process in psutil.process_iter():
        try:
            belongs = process.pid == os.getpid() or var in " ".join([*process.environ().values(), *process.cmdline()])
            total += process.memory_full_info().pss / 1e6 if belongs else 0.0
        except psutil.Error:
            continue
    return total


def _run(figures: dict[str, float]) -> None:
    from infra.configuration.settings import load
    from infra.services.endpoints import export
    from infra.supervisor import startup

    settings = load()
    started = time.perf_counter()
    # Registered before Prefect is imported, so it comes after Prefect has sent its last logs and events.
    atexit.register(shutil.rmtree, settings.var, ignore_errors=True)
    # By a process of its own: this one can start no threads any more by then, and stopping takes some.
    atexit.register(subprocess.run, [sys.executable, "-m", "flows", "down"], check=False)
    endpoints = startup.start(settings, print)
    figures["seconds_services"] = time.perf_counter() - started
    export(endpoints)
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    with peak_memory(figures):
        _measure(figures)


def _measure(figures: dict[str, float]) -> None:
    from flows.demo import demo
    from infra.registry import client as registry
    from tasks.orchestration import progress, run_artifacts

    calls = Stopwatch()
    for name in [name for name in dir(registry.Registry) if not name.startswith("_")]:
        calls.wrap(registry.Registry, name)
    calls.wrap(progress, "create_progress_artifact")
    calls.wrap(progress, "update_progress_artifact")
    calls.wrap(run_artifacts, "create_table_artifact")
    calls.wrap(run_artifacts, "create_markdown_artifact")
    started = time.perf_counter()
    demo(approve=True)
    total = time.perf_counter() - started
    flows, in_tasks = _durations()
    figures.update({f"seconds_{name}": seconds for name, seconds in flows.items()})
    figures["seconds_job"] = total
    figures["seconds_total"] = total + figures["seconds_services"]
    figures["orchestration_share"] = (total - in_tasks + calls.seconds) / total


def _durations() -> tuple[dict[str, float], float]:
    """Return the seconds of each sub-flow, and the sum over all tasks, from Prefect."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        names = {flow.id: flow.name for flow in client.read_flows()}
        runs = client.read_flow_runs()
        flows = {names[run.flow_id]: run.total_run_time.total_seconds() for run in runs if run.parent_task_run_id}
        wrappers = {run.parent_task_run_id for run in runs}  # a sub-flow also has a task that stands for it
        tasks = [task for task in client.read_task_runs(limit=200) if task.id not in wrappers]
        return flows, sum(task.total_run_time.total_seconds() for task in tasks)


def main() -> None:
    """Run the demo in an installation of its own and delete it."""
    var = (FOLDER / "demo-var").absolute()
    shutil.rmtree(var, ignore_errors=True)
    os.environ |= {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var)}
    figures: dict[str, float] = {}
    _run(figures)
    publish("demo", figures, SEED)


if __name__ == "__main__":
    main()
