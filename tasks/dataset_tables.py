"""The tables of a data set, worked out from a workspace: features at each cut, and what became of it afterwards."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Final

import pyarrow as pa

from infra.installation import Installation
from models import columns
from models.features.rows import Frame, as_is
from models.features.sequence import sequences
from models.features.tables import TABLES, Build
from models.impressions import impressions
from models.labels import LabelConfig, labels
from models.splits import Cuts
from models.sql import texts
from tasks.dataset_events import Known, Workspace

Parts = Callable[[Workspace], Iterator[pa.RecordBatchReader]]
"""A table in parts, each worked out when it is asked for."""

_AT_ONCE: Final = 2
_LABELS: Final = "labels"
_COPIED: Final = ("users", "items", "aliases", "batches")
BUILDS: Final[dict[str, Build]] = {name: table.build for name, table in TABLES.items()} | {
    "sequences": lambda events, _items, now, keep=as_is: sequences(events, now)  # noqa: ARG005 -- as the others are called
}
"""What is worked out at each cut, by the name of its table."""
_INTERACTIONS: Final = f"""
    SELECT user_key, item_id, occurred_at, received_at, session_id, quantity, value
    FROM events WHERE event_type = '{columns.PURCHASE}'
"""


def stored_rows(here: Installation, version: str, name: str) -> str:
    """SQL for a table of a data set in the lake; Delta writes no file for an empty one."""
    files = here.lake.dataset_files(version, name)
    return f"read_parquet({texts(files)})" if files else "(SELECT 1 AS nothing WHERE false)"


def parts(space: Workspace, known: Known, moments: Cuts, label: LabelConfig) -> dict[str, Parts]:
    """The tables of a data set by name.

    Raises LabelError when what the labels tell is not over by the next cut.
    """
    _labelled(space, moments, label)
    return {
        "interactions": lambda space: iter([space.named(space.connection.sql(_INTERACTIONS))]),
        **{name: partial(_copied, rows=getattr(known, name)) for name in _COPIED},
        **features(moments),
        _LABELS: partial(_labelled, moments=moments, label=label),
        "impressions": partial(_shown, moments=moments, label=label),
    }


def write(here: Installation, space: Workspace, version: str, tables: Mapping[str, Parts]) -> Iterator[str]:
    """Write tables of a data set to the lake; yields the name of each when it is there.

    Planning and encoding keep one core busy: meanwhile the others work on a second table. More at a time would only
    share the same memory.
    """

    def written(name: str) -> str:
        with space.aside() as mine:
            here.lake.write_dataset(version, name, tables[name](mine))
        return name

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(written, tables)


def keys_of(name: str) -> tuple[str, ...]:
    """The columns that name a row of a table whose numbers are worked out; none of one that is copied."""
    if name == _LABELS:
        return (columns.AS_OF, columns.USER_KEY, columns.ITEM_ID)
    return (columns.AS_OF, *TABLES[name].keys) if name in TABLES else ()


def features(moments: Cuts) -> dict[str, Parts]:
    """The tables of `BUILDS`, each as it was at each cut, with the cut in `as_of`."""
    return {name: partial(_at_each_cut, build=build, moments=moments) for name, build in BUILDS.items()}


def _at_each_cut(space: Workspace, build: Build, moments: Cuts) -> Iterator[pa.RecordBatchReader]:
    for moment in moments.all():
        yield _dated(space, build(space.events(), space.items(), moment, space.keep), moment)


def _dated(space: Workspace, frame: Frame, moment: int) -> pa.RecordBatchReader:
    """A frame with its `moment` in `as_of`."""
    rows = frame.to_native().sql_query()
    return space.named(space.connection.sql(f"SELECT {moment}::BIGINT AS {columns.AS_OF}, * FROM ({rows})"))


def _copied(_space: Workspace, rows: pa.Table) -> Iterator[pa.RecordBatchReader]:
    yield rows.to_reader()


def _labelled(space: Workspace, moments: Cuts, label: LabelConfig) -> Iterator[pa.RecordBatchReader]:
    """What happened after each cut but the last, as far as it was known at the next one."""
    pairs = pairwise(moments.all())
    found = [(cut, labels(space.events(), cut, label.until(end - cut), end)) for cut, end in pairs]
    return (_dated(space, frame, cut) for cut, frame in found)


def _shown(space: Workspace, moments: Cuts, label: LabelConfig) -> Iterator[pa.RecordBatchReader]:
    """What became of the impressions before each cut, from the cut before it on, as far as it was known then."""
    for start, cut in pairwise((0, *moments.all())):
        yield _dated(space, impressions(space.events(), start, cut, label), cut)
