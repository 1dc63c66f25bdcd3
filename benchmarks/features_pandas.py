"""The tables of features on pandas: the same definitions, at the same moments, from the lake's files to files.

It is the way without an engine: rows in memory, users and items by their names, one thread. Nothing is worked out
twice, as a careful script would see to. Checks, hashes and segments are left out, and so they are from `tables`, which
is what it is compared with.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import narwhals as nw
import pandas as pd

from infra.installation import current
from models.columns import OCCURRED_AT, RECEIVED_AT, USER_KEY
from models.features import history, item, pair
from models.splits import SplitConfig, split
from tasks.dataset_events import Known, workspace
from tasks.dataset_known import known_now
from tasks.dataset_tables import BUILDS, at_each_cut

_ROWS: Final = 100_000


def tables() -> float:
    """Seconds that the engine takes."""
    here = current()
    known = known_now(here)
    started = time.perf_counter()
    with workspace(here, known, here.lake.event_files()) as space:
        moments = split(space.events(), SplitConfig())
        for name, build in BUILDS.items():
            parts = at_each_cut(space, build, moments)
            here.lake.write_dataset("measured", name, (part.to_arrow_reader(_ROWS) for part in parts))
    return time.perf_counter() - started


def pandas() -> float:
    """Seconds that pandas takes."""
    here = current()
    known, folder = known_now(here), here.settings.var / "pandas"
    folder.mkdir()
    vars(pair)["history"] = vars(item)["history"] = _once(history.history)  # both tables begin with it
    started = time.perf_counter()
    _work_out(known, here.lake.event_files(), folder)
    return time.perf_counter() - started


def _work_out(known: Known, files: list[str], folder: Path) -> None:
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    rows = rows[rows[USER_KEY].isin(known.users[USER_KEY].to_pandas())]
    rows[OCCURRED_AT] = rows[OCCURRED_AT].astype("datetime64[s, UTC]").astype("int64")
    rows[RECEIVED_AT] = rows[OCCURRED_AT]  # this shop does not say when it heard of an event
    events, items = (nw.from_native(table).lazy() for table in (rows, known.items.to_pandas()))
    moments = split(events, SplitConfig())
    for name, build in BUILDS.items():
        for moment in moments.all():
            part = build(events, items, moment).collect("pandas").to_native()
            part.assign(as_of=moment).to_parquet(folder / f"{name}-{moment}.parquet")


def _once(work: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """`work`, done once for each moment."""
    done: dict[int, Any] = {}

    def found(events: Any, now: int) -> Any:
        if now not in done:
            done[now] = work(events, now)
        return done[now]

    return found


STEPS: Final = {"tables": tables, "pandas": pandas}
