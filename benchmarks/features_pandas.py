"""The tables of features on pandas: the same definitions, at the same moments, from the lake's files to files.

It is the way without an engine: rows in memory, users and items by their names, one thread. The plain way works each
table out as its definition reads; the careful one keeps what several tables begin with, as the engine does. Checks,
hashes and segments are left out, and so they are from `tables`, which is what both are compared with.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import narwhals as nw
import pandas as pd

from infra.installation import current
from models.columns import OCCURRED_AT, RECEIVED_AT, USER_KEY
from models.features.rows import Frame, Keep, as_is
from models.splits import SplitConfig, split
from tasks.dataset_events import Known, workspace
from tasks.dataset_known import known_now
from tasks.dataset_tables import BUILDS, features, write


def tables() -> float:
    """Seconds that the engine takes."""
    here = current()
    known = known_now(here)
    started = time.perf_counter()
    with workspace(here, known, here.lake.event_files()) as space:
        list(write(here, space, "measured", features(split(space.events(), SplitConfig()))))
    return time.perf_counter() - started


def pandas(keep: Keep = as_is) -> float:
    """Seconds that pandas takes."""
    here = current()
    known = known_now(here)
    started = time.perf_counter()
    with TemporaryDirectory(dir=here.settings.var) as folder:
        _work_out(known, here.lake.event_files(), Path(folder), keep)
    return time.perf_counter() - started


def _work_out(known: Known, files: list[str], folder: Path, keep: Keep) -> None:
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    rows = rows[rows[USER_KEY].isin(known.users[USER_KEY].to_pandas())]
    rows[OCCURRED_AT] = rows[OCCURRED_AT].astype("datetime64[s, UTC]").astype("int64")
    rows[RECEIVED_AT] = rows[OCCURRED_AT]  # this shop does not say when it heard of an event
    events, items = (nw.from_native(table).lazy() for table in (rows, known.items.to_pandas()))
    moments = split(events, SplitConfig())
    for name, build in BUILDS.items():
        for moment in moments.all():
            part = build(events, items, moment, keep).collect("pandas").to_native()
            part.assign(as_of=moment).to_parquet(folder / f"{name}-{moment}.parquet")


def _keep() -> Keep:
    """Keeps frames in memory."""
    done: dict[str, Frame] = {}

    def keep(frame: Callable[[], Frame], name: str) -> Frame:
        if name not in done:
            done[name] = frame()
        return done[name]

    return keep


STEPS: Final[dict[str, Callable[[], float]]] = {
    "tables": tables,
    "pandas": pandas,
    "careful_pandas": partial(pandas, _keep()),
}
