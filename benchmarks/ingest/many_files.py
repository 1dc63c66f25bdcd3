"""Measures many small files of events beside one file of the same rows: cost per file, and growth of that cost."""

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.results import peak_mb

ROWS: Final = 6_000
"""Rows of a small file."""
_MAPPING: Final = "complete_journey"
_WARM: Final = "warm-up.parquet"


def write(folder: Path, files: int, seed: int) -> None:
    """Write a catalogue, one large table, and the same rows as small files; and one file to warm up with."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.shop import flat_events

    flat_events.write(folder, (files + 1) * ROWS, seed, lines=False)
    whole = folder / "transactions.parquet"
    (folder / "small").mkdir()
    with pq.ParquetFile(whole) as table:
        pieces = [pa.table(batch) for batch in table.iter_batches(ROWS)]
    pq.write_table(pieces[0], folder / _WARM)
    pq.write_table(pa.concat_tables(pieces[1:]), whole)
    for number, piece in enumerate(pieces[1:]):
        pq.write_table(piece, folder / "small" / f"{number:06}.parquet")


def run(folder: Path, *, small: bool) -> dict[str, float]:
    """Ingest the small files or the large one into a warm installation, and return the figures."""
    from infra.installation import current
    from tasks.ingest.events.ingest_event_files import ingest_event_files
    from tasks.ingest.events.ingest_events import ingest_events
    from tasks.ingest.reference.ingest_items import ingest_items

    ingest_items.fn(_MAPPING, str(folder / "products.parquet"))
    ingest_events.fn(_MAPPING, str(folder / _WARM))
    started, used = time.time(), time.process_time()
    if small:
        summary = ingest_event_files.fn(_MAPPING, sorted(map(str, (folder / "small").iterdir())))
        assert not summary["refused"], summary["refused"]
        lines = summary["lines"]
    else:
        lines = [ingest_events.fn(_MAPPING, str(folder / "transactions.parquet"))]
    figures = {"seconds": time.time() - started, "cpu_s": time.process_time() - used, "peak_mb": peak_mb()}
    figures |= {"accepted": sum(line["accepted"] for line in lines), "load": os.getloadavg()[0]}
    if small:
        figures["growth"] = _growth(_finished(current().engine, [line["batch_id"] for line in lines]), started)
    return figures


def _finished(engine: object, batch_ids: list[str]) -> list[datetime]:
    from sqlalchemy import Engine, select

    from infra.database.schema.schema import ingest_batches

    assert isinstance(engine, Engine)
    with engine.connect() as connection:
        rows = connection.execute(select(ingest_batches.c.batch_id, ingest_batches.c.finished_at)).all()
    known = {row.batch_id: row.finished_at for row in rows}
    return [known[batch_id] for batch_id in batch_ids]


def _growth(finished: list[datetime], started: float) -> float:
    """Return the time of the last 100 files (at most a tenth of all, in short runs) relative to the first ones.

    Files of one group end at the same moment: each gets its share of the group's time.
    """
    moments, done = np.unique([moment.timestamp() for moment in finished], return_counts=True)
    many = min(100, max(1, len(finished) // 10))
    files = np.concatenate([[0], np.cumsum(done)])
    times = np.concatenate([[started], moments])
    first, last = np.interp([many, len(finished) - many], files, times)
    return float((times[-1] - last) / (first - started))


def main(way: str, folder: Path) -> None:
    """Print the figures of one way as JSON."""
    print(json.dumps(run(folder, small=way == "files")))
