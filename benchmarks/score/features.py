"""Measures data sets of simulated shops, from the lake to the snapshot: seconds, peak memory, and their growth.

Run as `python -m benchmarks.score.features [--millions 1 10 31]`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from math import log
from pathlib import Path

from benchmarks.installation import installed
from benchmarks.results import FOLDER, peak_mb, publish
from benchmarks.shop import generator
from infra.services.embedded_postgres import EmbeddedPostgres

SEED = 7
_MAPPING = str(Path(generator.__file__).with_name("mapping.toml"))


def _ingest(folder: Path) -> None:
    from tasks.ingest.events.ingest_events import ingest_events
    from tasks.ingest.reference.ingest_items import ingest_items
    from tasks.ingest.reference.ingest_users import ingest_users

    ingest_items.fn(_MAPPING, str(folder / "items.parquet"))
    ingest_users.fn(_MAPPING, str(folder / "users.parquet"))
    for file in sorted(folder.glob("events-*.parquet")):
        ingest_events.fn(_MAPPING, str(file))


def _build() -> None:
    from tasks.datasets.build_dataset import build_dataset

    started = time.perf_counter()
    manifest = build_dataset.fn()
    payload = {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(), "rows": manifest["rows"]}
    print(json.dumps(payload))


def _run(step: str, folder: Path) -> dict[str, float]:
    """Run one step in a process of its own, which shows its peak memory."""
    command = [sys.executable, "-m", "benchmarks.score.features", "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    return figures


def _measured(millions: float) -> dict[str, float]:
    """Measure a shop of that size, ingested and built."""
    folder, var = FOLDER.absolute() / "features-data", FOLDER.absolute() / "features-var"
    for path in (folder, var):
        shutil.rmtree(path, ignore_errors=True)
    try:
        installed(var)
        generator.write(folder, int(millions * 1e6), SEED)
        _run("ingest", folder)
        return _run("build", folder)
    finally:
        EmbeddedPostgres(var).destroy()
        for path in (folder, var):
            shutil.rmtree(path, ignore_errors=True)


def _compare(millions: list[float]) -> None:
    figures: dict[str, float] = {}
    for size in millions:
        run = _measured(size)
        figures[f"duckdb_seconds_{size:g}m"] = run["seconds"]
        figures[f"duckdb_peak_mb_{size:g}m"] = run["peak_mb"]
    first, last = millions[0], millions[-1]
    figures["duckdb_peak_mb"] = max(figures[f"duckdb_peak_mb_{size:g}m"] for size in millions)
    if last > first:
        grown = figures[f"duckdb_seconds_{last:g}m"] / figures[f"duckdb_seconds_{first:g}m"]
        figures["growth_exponent"] = log(grown) / log(last / first)
    publish("features", figures, SEED)


def main() -> None:
    """Measure, or (in the processes that this starts) run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10, 31], help="purchases, in millions")
    parser.add_argument("--step", choices=("ingest", "build"))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.step == "ingest":
        _ingest(options.folder)
    elif options.step == "build":
        _build()
    else:
        _compare(sorted(options.millions))


if __name__ == "__main__":
    main()
