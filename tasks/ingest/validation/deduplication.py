"""Which events the lake holds already: a quick look in memory, and an exact one only at what it finds."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.lake.delta_lake import Lake
from models import columns
from models.primitives.arrow_sql import query, texts

ID_HASH: Final = "id_hash"
"""DuckDB's own hash of the event id: it need not outlive this process."""

Hashes = NDArray[np.uint64]


@dataclass
class HashSet:
    """A growing set of 64-bit hashes, 8 bytes each: a few sorted layers, each less than half as long as the one before.

    Adding stays cheap, and so does looking (the logarithmic method of Bentley and Saxe, 1980).
    """

    _layers: list[Hashes] = field(default_factory=list)

    def holds(self, asked: Hashes) -> NDArray[np.bool_]:
        """Which of these it has; one in 10^11 by mistake, at a hundred million."""
        order = np.argsort(asked, kind="stable")  # next to nothing for sorted ones, and they are found much faster
        ordered, held = asked[order], np.zeros(len(asked), bool)
        for layer in self._layers:
            at = np.minimum(np.searchsorted(layer, ordered), len(layer) - 1)
            held |= layer[at] == ordered
        found = np.empty(len(asked), bool)
        found[order] = held
        return found

    def add(self, hashes: Hashes) -> None:
        """Have these from now on."""
        if not len(hashes):
            return
        self._layers.append(np.sort(hashes))
        while len(self._layers) > 1 and 2 * len(self._layers[-1]) > len(self._layers[-2]):
            merged = np.concatenate([self._layers.pop(-2), self._layers.pop()])
            merged.sort(kind="stable")  # which merges what is sorted already
            self._layers.append(merged)


@dataclass
class _FileHashes:
    """The hashes of the ids in some of a lake's files. Delta never changes a file that it has written."""

    files: set[str] = field(default_factory=set)
    seen: HashSet = field(default_factory=HashSet)


_CACHE: Final[dict[str, _FileHashes]] = {}
"""By lake, for as long as the process lives: a run of many files reads every id once."""


def _stored_hashes(lake: Lake) -> HashSet:
    """Return the hashes of all ids of the lake, and maybe of some that have left it; only new files are read."""
    paths, cached = set(lake.event_files()), _CACHE.get(lake.root)
    if cached is None or 2 * len(cached.files & paths) < len(cached.files):  # compacted since
        cached = _CACHE[lake.root] = _FileHashes()
    if new := sorted(paths - cached.files):
        cached.seen.add(hashes(f"read_parquet({texts(new)})", columns.EVENT_ID))
        cached.files |= paths
    return cached.seen


@dataclass
class KnownIds:
    """The ids of the lake's events."""

    lake: Lake
    _own: HashSet = field(default_factory=HashSet)

    def __post_init__(self) -> None:
        """Read the ids that are there."""
        self._stored_before = _stored_hashes(self.lake)

    def may_hold(self, asked: Hashes) -> NDArray[np.bool_]:
        """False for ids that are not there for certain."""
        return self._stored_before.holds(asked) | self._own.holds(asked)

    def among(self, rows: pa.Table) -> pa.Table:
        """Ids and payload hashes of those of the rows' ids that the lake holds, whenever they occurred.

        An event that came before mostly has the same time, so its month is looked through first.
        """
        if not len(rows):
            return self._stored(rows, [])
        months = pc.unique(rows[columns.MONTH]).to_pylist()
        found = self._stored(rows, self.lake.event_files(months=months))
        missing = rows.filter(pc.invert(pc.is_in(rows[columns.EVENT_ID], found[columns.EVENT_ID].combine_chunks())))
        if not len(missing):
            return found
        return pa.concat_tables([found, self._stored(missing, self.lake.event_files())])

    def _stored(self, rows: pa.Table, paths: list[str]) -> pa.Table:
        asked = rows.select([columns.EVENT_ID, columns.PAYLOAD_HASH])
        if not paths or not len(rows):
            return asked.slice(0, 0)
        stored = f"read_parquet({texts(paths)})"
        return query(f"SELECT event_id, payload_hash FROM {stored} SEMI JOIN rows USING (event_id)", rows=asked)

    def add(self, stored: Hashes) -> None:
        """The hashes of rows that the lake holds from now on."""
        self._own.add(stored)


def hashes(source: str, name: str, **tables: pa.Table) -> Hashes:
    """The hashes of a column."""
    found: Hashes = query(f"SELECT hash({name}) AS hash FROM {source}", **tables)["hash"].to_numpy()
    return found
