import multiprocessing
import os
import runpy
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from infra.installation import Installation
from infra.schema import quarantine
from tasks.ingest_events import ingest_events
from tasks.ingest_items import ingest_items
from tasks.ledger import BatchBusyError
from tasks.sources.files import CHUNK_ROWS

ROWS, REPEATED = 2 * CHUNK_ROWS + 50_000, 1000
INGEST = """
import os
os.environ.update({environment!r})
from tasks.ingest_events import ingest_events
ingest_events.fn("complete_journey", {file!r})
"""


def three_chunks(products: Any) -> pa.Table:
    """Sound events but for every fiftieth; the last ones repeat the first, half of them with another value."""
    event = np.arange(ROWS)
    event[-REPEATED:] = event[:REPEATED]
    changed = np.arange(ROWS) >= ROWS - REPEATED // 2
    seconds = 1_483_272_000 + event * 50
    return pa.table(
        {
            "household_id": 77_000_001 + event // 5 % 30,
            "basket_id": 40_000_000_000 + event // 5,
            "product_id": products[event % 5],
            "quantity": np.where(event % 50 == 7, 0, 1),
            "sales_value": 1.0 + event % 97 / 100 + changed,
            "transaction_timestamp": pa.array(seconds * 1_000_000_000, pa.timestamp("ns")),
        }
    )


@pytest.fixture
def program(installation: Installation, shop: Any, tmp_path: Path) -> str:
    """A script that ingests the three chunks into the installation."""
    shop.write(transactions=three_chunks(shop.products["product_id"].to_numpy()))
    ingest_items.fn("complete_journey", shop.items_file)
    names = ("TAILORBIRD_DATABASE_URL", "TAILORBIRD_VAR", "PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    script = tmp_path / "ingest.py"
    script.write_text(INGEST.format(environment={n: os.environ[n] for n in names}, file=shop.events_file))
    assert installation.lake.events() is None
    return str(script)


def killed(program: str, context: Any, seconds: float) -> bool:
    process = context.Process(target=runpy.run_path, args=(program,))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return bool(process.exitcode == -9)


def finished(file: str) -> dict[str, Any]:
    """The batch's line in the ledger, once the server has noticed that the killed process is gone."""
    for _ in range(100):
        try:
            entry: dict[str, Any] = ingest_events.fn("complete_journey", file)
        except BatchBusyError:
            time.sleep(0.05)
        else:
            return entry
    pytest.fail("the killed process still holds its batch")


@pytest.mark.parametrize("seed", [1, 2])
def test_an_ingest_that_is_killed_again_and_again_ends_with_every_event_once(
    installation: Installation, shop: Any, program: str, seed: int
) -> None:
    # Its processes have all imports done, so that they are killed at work and not while they start.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.ingest_events"])
    first = context.Process(target=int)
    first.start()
    first.join()
    moments = np.random.default_rng(seed).uniform(0.3, 2.2, 4)
    ends = [killed(program, context, seconds) for seconds in moments]
    assert any(ends)
    entry = finished(shop.events_file)
    broken, repeated = ROWS // 50, REPEATED // 2 * 49 // 50
    expected = {"read": ROWS, "quarantined": broken + repeated, "duplicate": repeated, "suppressed": 0, "routed": 0}
    expected["accepted"] = ROWS - broken - 2 * repeated
    assert {name: entry[name] for name in expected} == expected
    ids = pa.concat_tables(
        pq.read_table(file, columns=["event_id"], partitioning=None) for file in installation.lake.event_files()
    )["event_id"]
    assert len(ids) == len(ids.unique()) == expected["accepted"]
    with installation.engine.connect() as connection:
        waiting = select(func.count()).where(quarantine.c.batch_id == entry["batch_id"])
        assert connection.execute(waiting).scalar() == expected["quarantined"]
