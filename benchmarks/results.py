"""Prints a benchmark's figures as a table, stores them as one flat JSON object, and measures steps apart."""

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.configuration.version import git_commit
from models.errors import TailorbirdError
from models.evaluation.comparison import gain
from models.evaluation.offline import Evaluation
from models.primitives.json_types import JsonObject

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


def run_apart(module: str, *words: str) -> JsonObject:
    """Return the JSON that a command prints last, from a process of its own, which shows its peak memory."""
    done = subprocess.run([sys.executable, "-m", module, *words], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise TailorbirdError(f"{module} {' '.join(words)} ended with code {done.returncode}; its message is above.")
    payload: JsonObject = json.loads(done.stdout.splitlines()[-1])
    return payload


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; its first column is text, and the others are numbers."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if table.columns else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=max(Console().width, 120)).print(table)


def publish(name: str, figures: Mapping[str, float], seed: int) -> None:
    """Print the figures and write them to var/benchmarks/<name>.json."""
    show(f"benchmark {name}", ("figure", "value"), ((figure, f"{value:,.3f}") for figure, value in figures.items()))
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = {"machine": machine(), "commit": git_commit(), "seed": seed}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({**figures, **about}, indent=1) + "\n")
    Console().print(f"written to {path}")
