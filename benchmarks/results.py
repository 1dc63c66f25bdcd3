"""Prints a benchmark's figures as a table and stores them as one flat JSON object."""

import json
import os
import platform
import resource
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.configuration.version import git_commit
from models.evaluation.comparison import gain
from models.evaluation.offline import Evaluation

FOLDER = Path("var/benchmarks")


def machine() -> str:
    """The machine and the versions of the measurement."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def peak_mb() -> float:
    """Return the peak memory of this process; getrusage also counts that of its parent at the start."""
    status = Path("/proc/self/status")
    if status.is_file():
        most = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(most.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gained(one: Evaluation, other: Evaluation, metric: str, seed: int) -> str:
    """Return the gain over another model with its interval, user by user; empty if they cannot be compared."""
    difference = gain(one, other, metric, seed)
    if difference is None:
        return ""
    value, low, high = difference
    return f"{value:+.4f} ({low:+.4f}, {high:+.4f})"


def publish(name: str, figures: Mapping[str, float], seed: int) -> None:
    """Print the figures and write them to var/benchmarks/<name>.json."""
    table = Table(title=f"benchmark {name}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for figure, value in figures.items():
        table.add_row(figure, f"{value:,.3f}")
    Console().print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine(), "commit": git_commit(), "seed": seed}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({**figures, **about}, indent=1) + "\n")
    Console().print(f"written to {path}")
