"""Measures data sets of simulated shops, from the lake to the snapshot: seconds, peak memory, and their growth.

Run as `python -m benchmarks.score.features [--millions 1 10 31]`.
"""

import argparse
import json
import shutil
import time
from math import log
from pathlib import Path

from benchmarks.installation import fresh
from benchmarks.results import FOLDER, peak_mb, publish, run_apart
from benchmarks.shop import generator
from models.primitives.json_types import JsonObject

SEED = 7
_MAPPING = str(Path(generator.__file__).with_name("mapping.toml"))


def _ingest(folder: Path) -> JsonObject:
    from tasks.ingest.events.ingest_events import ingest_events
    from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users

    ingest_items.fn(_MAPPING, str(folder / "items.parquet"))
    ingest_users.fn(_MAPPING, str(folder / "users.parquet"))
    for file in sorted(folder.glob("events-*.parquet")):
        ingest_events.fn(_MAPPING, str(file))
    return {}


def _build(_folder: Path) -> JsonObject:
    from tasks.datasets.build_dataset import build_dataset

    started = time.perf_counter()
    build_dataset.fn()
    return {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}


_STEPS = {"ingest": _ingest, "build": _build}


def _measured(millions: float) -> JsonObject:
    """Measure a shop of that size, ingested and built, each in a process of its own."""
    folder = FOLDER.absolute() / "features-data"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with fresh("features-var"):
            generator.write(folder, int(millions * 1e6), SEED)
            for step in _STEPS:
                payload = run_apart("benchmarks.score.features", "--step", step, "--folder", str(folder))
            return payload
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure, or (in the processes that this starts) run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10, 31], help="purchases, in millions")
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(_STEPS[options.step](options.folder)))
        return
    runs = {size: _measured(size) for size in sorted(options.millions)}
    figures: dict[str, float] = {}
    for size, run in runs.items():
        figures |= {f"duckdb_seconds_{size:g}m": run["seconds"], f"duckdb_peak_mb_{size:g}m": run["peak_mb"]}
    first, last = min(runs), max(runs)
    if last > first:
        figures["growth_exponent"] = log(runs[last]["seconds"] / runs[first]["seconds"]) / log(last / first)
    publish("features", figures, SEED)


if __name__ == "__main__":
    main()
