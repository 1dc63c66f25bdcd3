"""Deletes the rows of users from the lake: from the events, from the data sets, and from their earlier versions."""

from collections import Counter
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from infra.installation import Installation
from infra.lake.delta_lake import DATASET_FILES, EVENT_FILES, Lake
from infra.lake.rewriting import purge, rewrite
from models import columns
from tasks.ingest.ledger import record_deleted
from tasks.privacy.register import USER_KEYS
from tasks.privacy.rekeyed_lake import with_columns

_MARK: Final = "erasure"
"""The mark of a commit that erased users, with the number of the newest request."""


def events_of(lake: Lake, keys: pa.Array) -> pa.Table:
    """Return the month, the batch, the id and the `recommendation_id` of the users' events."""
    table = lake.events()
    names = [columns.MONTH, columns.BATCH_ID, columns.EVENT_ID, columns.RECOMMENDATION_ID]
    if table is None:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    rows = table.to_pyarrow_dataset()
    found = rows.to_table([name for name in names if name in rows.schema.names], filter=_has(keys, [columns.USER_KEY]))
    return with_columns(found, names)


def erase_events(here: Installation, events: pa.Table, keys: pa.Array, number: int) -> int:
    """Delete the users' `events`, and all files and logs of earlier versions; returns the number of events.

    The ledger counts them month by month, so that a stop leaves out one month at most.
    """
    table = here.lake.events()
    if table is None:
        return 0
    batches = events[columns.BATCH_ID]
    for month in sorted(pc.unique(events[columns.MONTH]).to_pylist()):
        rewrite(table, partial(_without, keys=keys, names=[columns.USER_KEY]), EVENT_FILES, _MARK, number, month)
        table.update_incremental()
        with here.engine.begin() as connection:
            record_deleted(connection, Counter(batches.filter(pc.equal(events[columns.MONTH], month)).to_pylist()))
    purge(table)
    return len(events)


def erase_datasets(lake: Lake, known: list[str], keys: pa.Array, number: int) -> int:
    """Delete the users' rows of the `known` data sets, and files of interrupted builds; returns the number of rows."""
    total = 0
    for version, tables in lake.stored_datasets().items():
        if version not in known:
            lake.drop_dataset(version)
            continue
        total += sum(_erase(lake.dataset_table(version, name), keys, number) for name in tables)
    return total


def _erase(table: DeltaTable, keys: pa.Array, number: int) -> int:
    rows = table.to_pyarrow_dataset()
    names = [name for name in USER_KEYS if name in rows.schema.names]
    if not names:
        return 0
    found = rows.count_rows(filter=_has(keys, names)) if table.file_uris() else 0
    if found:
        rewrite(table, partial(_without, keys=keys, names=names), DATASET_FILES, _MARK, number)
    purge(table)
    return int(found)


def _has(keys: pa.Array, names: list[str]) -> pc.Expression:
    condition = pc.field(names[0]).isin(keys)
    for name in names[1:]:
        condition |= pc.field(name).isin(keys)
    return condition


def _without(rows: pa.Table, keys: pa.Array, names: list[str]) -> pa.Table:
    for name in names:
        rows = rows.filter(pc.invert(pc.is_in(rows[name], value_set=keys)))
    return rows
