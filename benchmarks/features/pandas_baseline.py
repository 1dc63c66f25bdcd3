"""Computes the feature tables with pandas: the same definitions and moments, from the lake's files to files.

Rows are in memory, users and items are strings, and there is one thread. The plain way computes each table as its
definition reads. The careful way shares intermediate tables, as the engine does. Both leave out checks, hashes and
segments, as does the engine's `tables`, which they are compared with.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import narwhals as nw
import numpy as np
import pandas as pd

from infra.installation import current
from models.columns import (
    BATCH_ID,
    EVENT_TYPE,
    ITEM_ID,
    OCCURRED_AT,
    PURCHASE,
    RECEIVED_AT,
    REFUND,
    REFUNDED_AT,
    SESSION_ID,
    USER_KEY,
    WHOLE_ORDER,
)
from models.datasets.time_splits import SplitConfig, split
from models.features.expressions import Frame, Materialize, no_cache
from tasks.datasets.event_workspace import workspace
from tasks.datasets.snapshot_tables import BUILDS, features, write
from tasks.lake.reference_data import ReferenceData, read_reference_data


def tables() -> float:
    """Measure the seconds of the engine."""
    installation = current()
    known = read_reference_data(installation)
    started = time.perf_counter()
    with workspace(installation, known, installation.lake.event_files()) as space:
        list(write(installation, space, "measured", features(split(space.events(), SplitConfig()))))
    return time.perf_counter() - started


def pandas(materialize: Materialize = no_cache) -> float:
    """Measure the seconds of pandas."""
    installation = current()
    known = read_reference_data(installation)
    started = time.perf_counter()
    with TemporaryDirectory(dir=installation.settings.var) as folder:
        _work_out(known, installation.lake.event_files(), Path(folder), materialize)
    return time.perf_counter() - started


def _work_out(known: ReferenceData, files: list[str], folder: Path, materialize: Materialize) -> None:
    rows = _not_taken_back(_laid_out(pd.concat([pd.read_parquet(file) for file in files], ignore_index=True), known))
    events, items = (nw.from_native(table).lazy() for table in (rows, known.items.to_pandas()))
    moments = split(events, SplitConfig())
    for name, build in BUILDS.items():
        for moment in moments.all():
            part = build(events, items, moment, materialize).collect("pandas").to_native()
            part.assign(as_of=moment).to_parquet(folder / f"{name}-{moment}.parquet")


def _laid_out(rows: pd.DataFrame, known: ReferenceData) -> pd.DataFrame:
    """Read the events of committed batches by users with consent, under one key each, with times in seconds."""
    rows = rows.merge(known.batches.to_pandas(), on=BATCH_ID)
    devices = known.aliases.to_pandas().set_index("device")["known"]
    rows[USER_KEY] = rows[USER_KEY].map(devices).astype("str").fillna(rows[USER_KEY])
    rows = rows[rows[USER_KEY].isin(known.users[USER_KEY].to_pandas())]
    rows[RECEIVED_AT] = rows[RECEIVED_AT].where(rows[RECEIVED_AT] < rows["started_at"], rows[OCCURRED_AT])
    for name in (OCCURRED_AT, RECEIVED_AT):
        rows[name] = rows[name].astype("datetime64[s, UTC]").astype("int64")
    return rows


def _not_taken_back(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the events without refunds; purchases have the time at which a refund was known."""
    known = rows[[OCCURRED_AT, RECEIVED_AT]].max(axis=1)
    refunds = rows.assign(known=known)[rows[EVENT_TYPE] == REFUND].dropna(subset=[SESSION_ID])
    first = refunds.groupby([SESSION_ID, ITEM_ID])["known"].min().reset_index()
    pieces = rows.merge(first, on=[SESSION_ID, ITEM_ID], how="left")["known"].to_numpy()
    whole = rows[SESSION_ID].map(first[first[ITEM_ID] == WHOLE_ORDER].set_index(SESSION_ID)["known"])
    back = whole.fillna(np.inf).clip(upper=pd.Series(pieces, rows.index).fillna(np.inf))
    refunded_at = back.where((rows[EVENT_TYPE] == PURCHASE) & np.isfinite(back))
    return rows.assign(**{REFUNDED_AT: refunded_at})[rows[EVENT_TYPE] != REFUND]


def _in_memory() -> Materialize:
    """Keeps frames in memory."""
    done: dict[str, Frame] = {}

    def materialize(frame: Callable[[], Frame], name: str) -> Frame:
        if name not in done:
            done[name] = frame()
        return done[name]

    return materialize


STEPS: Final[dict[str, Callable[[], float]]] = {
    "tables": tables,
    "pandas": pandas,
    "careful_pandas": partial(pandas, _in_memory()),
}
