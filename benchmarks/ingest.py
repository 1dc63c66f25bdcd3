"""Measures ingestion from a file to the commit, and many small files beside one large file of the same rows.

Each run is a process of its own on an embedded PostgreSQL of its own, which shows its peak memory.
Run as `python -m benchmarks.ingest [--millions 1 10] [--files 100]`. `--files 1000` is the number of small files in
the targets, and `--millions` without a number measures nothing else.
"""

import argparse
import json
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from benchmarks.installation import fresh
from benchmarks.results import FOLDER, peak_mb, publish, run_apart
from benchmarks.shop import flat_events
from infra.database.schema.schema import ingest_batches
from infra.installation import current
from models.primitives.json_types import JsonObject

SEED: Final = 7
ROWS: Final = 6_000
"""Rows of a small file."""
_MAPPING: Final = "complete_journey"
_WAYS: Final = {"parquet": "rows", "jsonl": "lines"}
_WARM: Final = "warm-up.parquet"


def _run(way: str, folder: Path) -> JsonObject:
    """Ingest a folder in one way, after its file to warm up with if it has one, and return the figures."""
    import great_expectations  # noqa: F401, its import takes seconds and is not about rows

    from tasks.ingest.events.ingest_event_files import ingest_event_files
    from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
    from tasks.ingest.reference.ingest_reference import ingest_items

    if way != "jsonl":
        ingest_items.fn(_MAPPING, str(folder / "products.parquet"))
    if (folder / _WARM).exists():
        ingest_events.fn(_MAPPING, str(folder / _WARM))
    started = time.time()
    if way == "files":
        summary = ingest_event_files.fn(_MAPPING, sorted(map(str, (folder / "small").iterdir())))
        assert not summary["refused"], summary["refused"]
        entries = summary["lines"]
    elif way == "jsonl":
        entries = [ingest_segment.fn("segment", str(folder / "events.jsonl"))]
    else:
        entries = [ingest_events.fn(_MAPPING, str(folder / "transactions.parquet"))]
    figures: JsonObject = {"seconds": time.time() - started, "peak_mb": peak_mb()}
    figures["accepted"] = sum(entry["accepted"] for entry in entries)
    if way == "files":
        figures["growth"] = _growth([entry["batch_id"] for entry in entries], started)
    return figures


def _growth(batch_ids: list[str], started: float) -> float:
    """Return the time of the last 100 files (at most a tenth of all, in short runs) relative to the first ones.

    Files of one group end at the same moment: each gets its share of the group's time.
    """
    with current().engine.connect() as connection:
        rows = connection.execute(select(ingest_batches.c.batch_id, ingest_batches.c.finished_at)).all()
    finished: dict[str, datetime] = {row.batch_id: row.finished_at for row in rows}
    moments, done = np.unique([finished[batch_id].timestamp() for batch_id in batch_ids], return_counts=True)
    many = min(100, max(1, len(batch_ids) // 10))
    files = np.concatenate([[0], np.cumsum(done)])
    times = np.concatenate([[started], moments])
    first, last = np.interp([many, len(batch_ids) - many], files, times)
    return float((times[-1] - last) / (first - started))


def _measured(way: str, folder: Path) -> JsonObject:
    """Measure one way in a process and an installation of its own."""
    with fresh("ingest-var"):
        return run_apart("benchmarks.ingest", "--way", way, "--folder", str(folder))


def _many(files: int, folder: Path) -> dict[str, float]:
    """Return the figures of many small files, and of one file with the same rows."""
    shutil.rmtree(folder, ignore_errors=True)
    flat_events.write(folder, (files + 1) * ROWS, SEED, lines=False)
    whole = folder / "transactions.parquet"
    (folder / "small").mkdir()
    with pq.ParquetFile(whole) as table:
        warm, *pieces = (pa.table(batch) for batch in table.iter_batches(ROWS))
    pq.write_table(warm, folder / _WARM)
    pq.write_table(pa.concat_tables(pieces), whole)
    for number, piece in enumerate(pieces):
        pq.write_table(piece, folder / "small" / f"{number:06}.parquet")
    one, many = _measured("parquet", folder), _measured("files", folder)
    assert one["accepted"] == many["accepted"], (one, many)
    return {
        "many_files": files,
        "many_files_per_s": files / many["seconds"],
        "growth_many_files": many["growth"],
        "ratio_many_files": many["seconds"] / one["seconds"],
    }


def _large(millions: float, folder: Path) -> dict[str, float]:
    """Return the figures of so many events, as a table and as lines of a Segment export."""
    figures: dict[str, float] = {}
    shutil.rmtree(folder, ignore_errors=True)
    flat_events.write(folder, int(millions * 1e6), SEED)
    for way, unit in _WAYS.items():
        run = _measured(way, folder)
        figures[f"{way}_{unit}_per_s_{millions:g}m"] = millions * 1e6 / run["seconds"]
        figures[f"{way}_peak_mb_{millions:g}m"] = run["peak_mb"]
    return figures


def main() -> None:
    """Compare the ways, or (in the processes that this starts) run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="*", default=[1, 10], help="events, in millions")
    parser.add_argument("--files", type=int, default=100, help="small files; 0 leaves them out")
    parser.add_argument("--way", choices=(*_WAYS, "files"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(_run(options.way, options.folder)))
        return
    folder = FOLDER.absolute() / "ingest-data"
    figures = _many(options.files, folder) if options.files else {}
    for size in sorted(options.millions):
        figures |= _large(size, folder)
    shutil.rmtree(folder, ignore_errors=True)
    publish("ingest", figures, SEED)


if __name__ == "__main__":
    main()
