"""Finds events that the lake already has: by hashes in memory, and exactly only where a hash matches."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.lake.delta_lake import Lake
from models import columns
from models.datasets.labels import IMPRESSION
from models.primitives.arrow_sql import query, texts
from models.primitives.distinct import distinct

ID_HASH: Final = "id_hash"
"""A hash of the event id, which is valid only in this process; impressions of one answer share its upper bits."""
_LOWER: Final = 12
"""The bits that tell the impressions of an answer apart."""
_ANSWER: Final = f"""
    CASE WHEN {columns.EVENT_TYPE} = '{IMPRESSION}' THEN split_part({columns.EVENT_ID}, '#', 1)
    ELSE {columns.EVENT_ID} END"""
ID_HASHED: Final = f"""
    ((hash({_ANSWER}) >> {_LOWER}) << {_LOWER}) | (hash({columns.EVENT_ID}) & {2**_LOWER - 1}::UBIGINT)"""
"""SQL of that hash. Most events are impressions, whose ids are that of the answer, `#` and the position: a set of upper
bits holds one number for an answer instead of one for each of its items."""

Hashes = NDArray[np.uint64]


@dataclass
class HashSet:
    """A growing set of 64-bit hashes, in sorted layers, each less than half as long as the one before.

    Adding and searching stay cheap (the logarithmic method of Bentley and Saxe, 1980).
    """

    _layers: list[Hashes] = field(default_factory=list)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each hash whether the set has it; one in 10^11 is wrong among a hundred million."""
        order = np.argsort(hashes, kind="stable")  # nearly free for sorted hashes, and speeds up the search
        ordered, matches = hashes[order], np.zeros(len(hashes), bool)
        for layer in self._layers:
            at = np.minimum(np.searchsorted(layer, ordered), len(layer) - 1)
            matches |= layer[at] == ordered
        contained = np.empty(len(hashes), bool)
        contained[order] = matches
        return contained

    def add(self, hashes: Hashes) -> None:
        """Add hashes to the set; they may repeat."""
        if not len(hashes):
            return
        self._layers.append(distinct(hashes))
        while len(self._layers) > 1 and 2 * len(self._layers[-1]) > len(self._layers[-2]):
            merged = np.concatenate([self._layers.pop(-2), self._layers.pop()])
            merged.sort(kind="stable")  # merges the sorted layers
            self._layers.append(merged)


@dataclass
class _FileHashes:
    """The upper bits of the ids in some of a lake's files. Delta never changes a written file."""

    files: set[str] = field(default_factory=set)
    hashes: HashSet = field(default_factory=HashSet)


_CACHE: Final[dict[str, _FileHashes]] = {}
"""By lake, for the lifetime of the process: a run of many files reads every id once."""


def _stored_hashes(lake: Lake) -> HashSet:
    """Return the upper bits of all ids of the lake, and maybe of removed ones; only new files are read."""
    paths, cached = set(lake.event_files()), _CACHE.get(lake.root)
    if cached is None or 2 * len(cached.files & paths) < len(cached.files):  # compacted since
        cached = _CACHE[lake.root] = _FileHashes()
    if new := sorted(paths - cached.files):
        cached.hashes.add(hashes(f"read_parquet({texts(new)})", _ANSWER) >> np.uint64(_LOWER))
        cached.files |= paths
    return cached.hashes


@dataclass
class KnownIds:
    """The ids of the lake's events."""

    lake: Lake
    _own: HashSet = field(default_factory=HashSet)

    def __post_init__(self) -> None:
        """Read the ids of the lake."""
        self._stored_before = _stored_hashes(self.lake)

    def may_contain(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each `ID_HASH` whether the lake may have its id; False is certain."""
        answers: Hashes = hashes >> np.uint64(_LOWER)
        return self._stored_before.contains(answers) | self._own.contains(answers)

    def matching(self, rows: pa.Table) -> pa.Table:
        """Return the ids and payload hashes that the lake has for the ids of these rows.

        A repeated event mostly has the same time, so its month is searched first.
        """
        if not len(rows):
            return self._stored(rows, [])
        months = pc.unique(rows[columns.MONTH]).to_pylist()
        matches = self._stored(rows, self.lake.event_files(months=months))
        missing = rows.filter(pc.invert(pc.is_in(rows[columns.EVENT_ID], matches[columns.EVENT_ID].combine_chunks())))
        if not len(missing):
            return matches
        return pa.concat_tables([matches, self._stored(missing, self.lake.event_files())])

    def _stored(self, rows: pa.Table, paths: list[str]) -> pa.Table:
        ids = rows.select([columns.EVENT_ID, columns.PAYLOAD_HASH])
        if not paths or not len(rows):
            return ids.slice(0, 0)
        stored = f"read_parquet({texts(paths)})"
        return query(f"SELECT event_id, payload_hash FROM {stored} SEMI JOIN rows USING (event_id)", rows=ids)

    def add(self, stored: Hashes) -> None:
        """Add each `ID_HASH` of rows that were stored."""
        self._own.add(stored >> np.uint64(_LOWER))


def hashes(source: str, name: str, **tables: pa.Table) -> Hashes:
    """Return the hashes of a column, or of another expression."""
    result: Hashes = query(f"SELECT hash({name}) AS hash FROM {source}", **tables)["hash"].to_numpy()
    return result
