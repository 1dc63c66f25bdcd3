"""Which events the lake holds already: a quick look in memory, and an exact one only at what it finds."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.lake import Lake
from models import columns
from models.sql import query, texts

_LAYERS: Final = 8
"""Sorted layers kept apart before they are merged: adding stays cheap, and so does looking."""


@dataclass
class KnownIds:
    """64-bit hashes of the lake's event ids: 8 bytes an event, whatever the length of its id."""

    lake: Lake
    _layers: list[NDArray[np.uint64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the ids that are there."""
        paths = self.lake.event_files()
        if paths:
            self._layers = [_sorted_hashes(f"read_parquet({texts(paths)})")]

    def among(self, rows: pa.Table) -> pa.Table:
        """Ids and payload hashes of those of the rows' ids that the lake holds, whenever they occurred."""
        asked = rows.select([columns.EVENT_ID, columns.PAYLOAD_HASH])
        if not self._may_hold(asked):
            return asked.slice(0, 0)
        stored = f"read_parquet({texts(self.lake.event_files())})"
        return query(f"SELECT event_id, payload_hash FROM {stored} SEMI JOIN rows USING (event_id)", rows=asked)

    def add(self, rows: pa.Table) -> None:
        """Rows that the lake holds from now on."""
        self._layers.append(_sorted_hashes("rows", rows=rows.select([columns.EVENT_ID])))
        if len(self._layers) > _LAYERS:
            self._layers = [np.sort(np.concatenate(self._layers))]

    def _may_hold(self, rows: pa.Table) -> bool:
        """False when none of the ids is there for certain."""
        asked = _sorted_hashes("rows", rows=rows)
        return any(_meet(asked, layer) for layer in self._layers)


def _sorted_hashes(source: str, **tables: pa.Table) -> NDArray[np.uint64]:
    """DuckDB's own hash: it need not outlive this process."""
    found = query(f"SELECT hash(event_id) AS hash FROM {source}", **tables)
    return np.sort(found["hash"].to_numpy())


def _meet(asked: NDArray[np.uint64], layer: NDArray[np.uint64]) -> bool:
    if not len(layer) or not len(asked):
        return False
    at = np.minimum(np.searchsorted(layer, asked), len(layer) - 1)
    return bool((layer[at] == asked).any())
