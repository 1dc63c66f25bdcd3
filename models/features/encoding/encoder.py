"""Encode tables as matrices: fitted on the training part and stored with the model as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.features.encoding.categorical import Embedded, Hashed, OneHot
from models.features.encoding.embeddings import CoOccurrence, Embedding, learned
from models.features.encoding.numeric import Imputation, Scaled
from models.features.encoding.traits import is_number
from models.primitives.arrow import pa, pc
from models.primitives.state import State

if TYPE_CHECKING:
    from models.primitives.arrow_types import ArrowColumn

_ColumnEncoding = Scaled | OneHot | Embedded | Hashed
_KINDS: Final[Mapping[str, Any]] = {kind.kind: kind for kind in (Scaled, OneHot, Embedded, Hashed)}


@dataclass(frozen=True)
class Config:
    """How columns are encoded. The Arrow type decides whether a column holds numbers (or booleans) or words."""

    imputation: Imputation = "median"
    """The statistic that fills a missing number."""
    one_hot_limit: int = 32
    """Words of at most this many distinct training values become one column per value; others become vectors."""
    min_rows: int = 5
    """A value in fewer training rows is pooled with the other rare values."""
    embedding_size: int = 8
    """Length of the learned vectors."""
    hash_buckets: int = 64
    """Columns for words of many values without learned vectors."""


@dataclass(frozen=True)
class Encoder:
    """One encoding for each column. Transforming uses only the row and the fitted values."""

    columns: tuple[str, ...]
    encodings: tuple[_ColumnEncoding, ...]

    @classmethod
    def fit(
        cls,
        table: pa.Table,
        columns: Sequence[str],
        config: Config,
        seed: int,
        related: Mapping[str, CoOccurrence | Embedding] | None = None,
    ) -> Self:
        """Learn from `table`, which must hold training rows only.

        `related` has the source of the vectors by column: counts to learn them from (of training rows too), or the
        vectors themselves, such as a model's item or brand factors.
        """
        given = related or {}
        encodings = [_fitted(table[column], config, seed, given.get(column)) for column in columns]
        return cls(tuple(columns), tuple(encodings))

    @property
    def names(self) -> NDArray[np.str_]:
        """Return the names of the matrix columns."""
        pairs = zip(self.columns, self.encodings, strict=True)
        return np.array([name for column, encoding in pairs for name in encoding.names(column)], dtype=np.str_)

    def transform(self, table: pa.Table) -> tuple[sparse.csr_array, NDArray[np.str_]]:
        """Return float32 CSR, rows x names, and the names. The table needs the fitted columns; others are ignored."""
        blocks = [sparse.csr_array((table.num_rows, 0), dtype=np.float32)]
        blocks += [e.encode(table[c]) for c, e in zip(self.columns, self.encodings, strict=True)]
        return sparse.csr_array(sparse.hstack(blocks, format="csr", dtype=np.float32)), self.names

    def state(self) -> State:
        """Return arrays without dtype object: `columns`, `kinds`, and `<place>.<field>` of each encoding."""
        state: State = {
            "columns": np.array(self.columns, dtype=np.str_),
            "kinds": np.array([encoding.kind for encoding in self.encodings], dtype=np.str_),
        }
        for place, encoding in enumerate(self.encodings):
            state |= {f"{place}.{f.name}": np.asarray(getattr(encoding, f.name)) for f in fields(encoding)}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild the encoder from its state; entries of other names are ignored."""
        kinds = [_KINDS[str(kind)] for kind in state["kinds"]]
        encodings = [
            kind(**{f.name: _plain(state[f"{place}.{f.name}"]) for f in fields(kind)})
            for place, kind in enumerate(kinds)
        ]
        return cls(tuple(map(str, state["columns"])), tuple(encodings))


def _fitted(
    values: ArrowColumn, config: Config, seed: int, related: CoOccurrence | Embedding | None
) -> _ColumnEncoding:
    if is_number(values.type):
        return Scaled.fit(values, config.imputation)
    if pc.count_distinct(values.cast(pa.large_string())).as_py() <= config.one_hot_limit:
        return OneHot.fit(values, config.min_rows)
    vectors = learned(related, config.embedding_size, seed) if isinstance(related, CoOccurrence) else related
    embedded = Embedded.fit(values, vectors) if vectors else None
    return embedded or Hashed(config.hash_buckets, seed)


def _plain(stored: np.ndarray[Any, Any]) -> Any:
    """Return a stored single value: it is an array without a dimension."""
    return stored.item() if stored.ndim == 0 else stored
