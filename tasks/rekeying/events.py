"""Re-keys the events of the lake, month by month."""

from collections.abc import Iterator
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from infra.keys.identity import rekeyed
from infra.keys.pseudonym_key_rotation import Rotation
from infra.lake import compaction, rewriting
from infra.lake.delta_lake import EVENT_FILES, Lake
from models import columns
from models.ingest.tabular import transform
from tasks.ingest.validation.event_identity import PAYLOAD_COLUMNS, add_fingerprints

_MARK: Final = "pseudonym-key of {}"


def rekey_events(lake: Lake, rotation: Rotation) -> Iterator[str]:
    """Re-key all events and delete the old files; yields each finished month.

    Each month is one commit with a mark, so that a stopped rotation continues there.
    """
    table = lake.events()
    if table is None:
        return
    for month, added in missing(lake, rotation):
        if added:
            change = partial(rekeyed_events, added=added)
            rewriting.rewrite(table, change, EVENT_FILES, _MARK.format(month), rotation.number, month)
            table.update_incremental()
        yield month
    rewriting.purge(table)


def missing(lake: Lake, rotation: Rotation) -> list[tuple[str, list[str]]]:
    """Return the months of the events with the keys that each lacks. Raises RotationRefusedError."""
    table, owned = lake.events(), lake.ownership()
    months = [row.month for row in compaction.months(table)] if table else []
    marks = [table.transaction_version(_MARK.format(month)) if table else None for month in months]
    keys = [rotation.missing(mark, owned.key if owned else None) for mark in marks]
    return list(zip(months, keys, strict=True))


def rekeyed_events(rows: pa.Table, added: list[str]) -> pa.Table:
    """Return stored events under new user keys."""
    changed = rekeyed_columns(rows, added)
    for name in changed.column_names:
        rows = _with(rows, name, changed[name])
    return rows


def rekeyed_columns(rows: pa.Table, added: list[str]) -> pa.Table:
    """Return the columns that depend on user keys: the new keys, ids derived from the old ones, and hashes."""
    people = rows[columns.USER_KEY].combine_chunks().dictionary_encode()
    keys = rekeyed(people.dictionary, added).take(people.indices)
    stated = rows.select([name for name in PAYLOAD_COLUMNS if name in rows.column_names])
    for name in set(PAYLOAD_COLUMNS) - set(stated.column_names):  # a lake of an earlier version has fewer columns
        stated = stated.append_column(name, pa.nulls(len(rows), pa.string()))
    derived = pc.equal(stated[columns.EVENT_ID], transform.identified(stated)[columns.EVENT_ID])
    stated = _with(stated, columns.USER_KEY, keys)
    ids = pc.if_else(derived, transform.identified(stated)[columns.EVENT_ID], stated[columns.EVENT_ID])
    stated = add_fingerprints(_with(stated, columns.EVENT_ID, ids))
    return stated.select([columns.USER_KEY, columns.EVENT_ID, columns.PAYLOAD_HASH])


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)
