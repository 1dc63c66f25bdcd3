"""Measures ingestion from a file to the commit: rows per second, and memory.

Each run is a process of its own on an embedded PostgreSQL of its own, which shows its peak memory.
Run as `python -m benchmarks.ingest [--millions 1 10] [--files 100]`. `--files 1000` is the number of small files in
the targets, and `--millions` without a number measures nothing else.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.ingest import many_files
from benchmarks.installation import installed
from benchmarks.results import FOLDER, peak_mb, publish
from benchmarks.shop import flat_events
from infra.services.embedded_postgres import EmbeddedPostgres

SEED = 7
_WAYS = ("parquet", "jsonl")


def _ours(way: str, folder: Path) -> None:
    import great_expectations  # noqa: F401, its import takes seconds and is not about rows

    from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
    from tasks.ingest.reference.ingest_items import ingest_items

    if way == "parquet":
        ingest_items.fn("complete_journey", str(folder / "products.parquet"))
    started = time.perf_counter()
    if way == "parquet":
        entry = ingest_events.fn("complete_journey", str(folder / "transactions.parquet"))
    else:
        entry = ingest_segment.fn("segment", str(folder / "events.jsonl"))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "read": entry["read"], "accepted": entry["accepted"]}))


def _measured(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own."""
    var = FOLDER.absolute() / f"ingest-var-{way}"
    shutil.rmtree(var, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.ingest", "--way", way, "--folder", str(folder), "--var", str(var)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures
    finally:
        EmbeddedPostgres(var).destroy()
        shutil.rmtree(var, ignore_errors=True)


def _many(files: int) -> dict[str, float]:
    """Return the figures of many small files, and of one file with the same rows."""
    folder = FOLDER.absolute() / "ingest-files"
    shutil.rmtree(folder, ignore_errors=True)
    many_files.write(folder, files, SEED)
    one, many = _measured("file", folder), _measured("files", folder)
    shutil.rmtree(folder)
    assert one["accepted"] == many["accepted"], (one, many)
    return {
        "many_files": files,
        "many_files_per_s": files / many["seconds"],
        "growth_many_files": many["growth"],
        "ratio_many_files": many["seconds"] / one["seconds"],
        "ratio_many_files_cpu": many["cpu_s"] / one["cpu_s"],
        "many_files_peak_mb": many["peak_mb"],
        "one_file_peak_mb": one["peak_mb"],
        "load_of_machine": max(one["load"], many["load"]),
    }


def _compare(millions: list[float], files: int) -> None:
    figures: dict[str, float] = _many(files) if files else {}
    if not millions:
        publish("ingest", figures, SEED)
        return
    peaks: dict[str, list[float]] = {way: [] for way in _WAYS}
    for size in millions:
        folder = FOLDER.absolute() / "ingest-data"
        flat_events.write(folder, int(size * 1e6), SEED)
        for way in _WAYS:
            run = _measured(way, folder)
            unit = "rows" if way == "parquet" else "lines"
            figures[f"{way}_{unit}_per_s_{size:g}m"] = size * 1e6 / run["seconds"]
            figures[f"{way}_peak_mb_{size:g}m"] = run["peak_mb"]
            peaks[way].append(run["peak_mb"])
        shutil.rmtree(folder)
    last = f"{millions[-1]:g}m"
    figures["parquet_rows_per_s"] = figures[f"parquet_rows_per_s_{last}"]
    figures["jsonl_lines_per_s"] = figures[f"jsonl_lines_per_s_{last}"]
    figures["peak_mb"] = max(max(values) for values in peaks.values())
    figures["peak_growth"] = max(values[-1] / values[0] for values in peaks.values())
    publish("ingest", figures, SEED)


def main() -> None:
    """Compare the ways, or (in the processes that this starts) run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="*", default=[1, 10], help="events, in millions")
    parser.add_argument("--files", type=int, default=100, help="small files; 0 leaves them out")
    parser.add_argument("--way", choices=(*_WAYS, "file", "files"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--var", type=Path)
    options = parser.parse_args()
    if options.way is None:
        _compare(sorted(options.millions), options.files)
        return
    installed(options.var)
    if options.way in ("file", "files"):
        many_files.main(options.way, options.folder)
    else:
        _ours(options.way, options.folder)


if __name__ == "__main__":
    main()
