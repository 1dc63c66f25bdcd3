"""The tables of a data set, worked out from a workspace: features at each cut, and what became of it afterwards."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from duckdb import DuckDBPyRelation

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

_LABELS: Final = "labels"
_COPIED: Final = ("users", "items", "aliases", "batches")
BUILDS: Final[dict[str, Build]] = {name: table.build for name, table in TABLES.items()} | {
    "sequences": lambda events, _items, now, keep=as_is: sequences(events, now)  # noqa: ARG005 -- as the others are called
}
"""What is worked out at each cut, by the name of its table."""
_INTERACTIONS: Final = f"""
    SELECT people.user_key, goods.item_id, occurred_at, received_at, session_id, quantity, value
    FROM events JOIN people ON people.code = events.user_key JOIN goods ON goods.code = events.item_id
    WHERE event_type = '{columns.PURCHASE}'
"""


def stored_rows(here: Installation, version: str, name: str) -> str:
    """SQL for a table of a data set in the lake; Delta writes no file for an empty one."""
    files = here.lake.dataset_files(version, name)
    return f"read_parquet({texts(files)})" if files else "(SELECT 1 AS nothing WHERE false)"


def parts(space: Workspace, known: Known, moments: Cuts, label: LabelConfig) -> dict[str, Iterator[DuckDBPyRelation]]:
    """The tables of a data set, each in parts that are worked out when they are asked for.

    Raises LabelError when what the labels tell is not over by the next cut.
    """
    copied = {name: space.connection.from_arrow(getattr(known, name)) for name in _COPIED}
    return {
        "interactions": iter([space.connection.sql(_INTERACTIONS)]),
        **{name: iter([rows]) for name, rows in copied.items()},
        **{name: at_each_cut(space, build, moments) for name, build in BUILDS.items()},
        _LABELS: _labelled(space, moments, label),
        "impressions": _shown(space, moments, label),
    }


def keys_of(name: str) -> tuple[str, ...]:
    """The columns that name a row of a table whose numbers are worked out; none of one that is copied."""
    if name == _LABELS:
        return (columns.AS_OF, columns.USER_KEY, columns.ITEM_ID)
    return (columns.AS_OF, *TABLES[name].keys) if name in TABLES else ()


def at_each_cut(space: Workspace, build: Build, moments: Cuts) -> Iterator[DuckDBPyRelation]:
    """A table as it was at each cut, with the cut in `as_of`."""
    for moment in moments.all():
        yield _dated(space, build(space.events(), space.items(), moment, space.keep), moment)


def _labelled(space: Workspace, moments: Cuts, label: LabelConfig) -> Iterator[DuckDBPyRelation]:
    """What happened after each cut but the last, as far as it was known at the next one."""
    pairs = pairwise(moments.all())
    found = [(cut, labels(space.events(), cut, label.until(end - cut), end)) for cut, end in pairs]
    return (_dated(space, frame, cut) for cut, frame in found)


def _shown(space: Workspace, moments: Cuts, label: LabelConfig) -> Iterator[DuckDBPyRelation]:
    """What became of the impressions before each cut, from the cut before it on, as far as it was known then."""
    for start, cut in pairwise((0, *moments.all())):
        yield _dated(space, impressions(space.events(), start, cut, label), cut)


def _dated(space: Workspace, frame: Frame, moment: int) -> DuckDBPyRelation:
    return space.named(frame).select(f"{moment}::BIGINT AS {columns.AS_OF}, *")
