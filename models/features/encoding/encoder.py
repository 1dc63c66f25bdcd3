"""Encode tables as matrices: fitted on the training part and stored with the model as arrays.

A column of words becomes one column per value, a learned vector, or hash buckets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.features.encoding.embeddings import CoOccurrence, Embedding, learned, vocabulary
from models.features.encoding.numeric import Imputation, Scaled
from models.features.encoding.tags import indicators
from models.features.encoding.traits import is_number
from models.primitives.arrow import pa, pc
from models.primitives.state import State
from models.primitives.vocabulary import index_of

if TYPE_CHECKING:
    from models.primitives.arrow_types import ArrowColumn

OTHER: Final = "other"


@dataclass(frozen=True)
class OneHot:
    """A column for each frequent value and one for all rare values; a missing value is 0 in every column."""

    kind: ClassVar[str] = "one_hot"

    values: NDArray[np.str_]
    pooled: bool
    """Whether the fit had rare values. If so, an unseen value counts as rare, else as missing."""

    @classmethod
    def fit(cls, values: ArrowColumn, min_rows: int) -> Self:
        """Learn the values; those in fewer than `min_rows` rows are rare."""
        names, codes = vocabulary(values)
        frequent = np.bincount(codes[codes >= 0], minlength=len(names)) >= min_rows
        return cls(names[frequent], bool((~frequent).any()))

    def names(self, column: str) -> list[str]:
        """Return `column=value` for each value, in alphabetical order, then `column~other`."""
        frequent = [f"{column}={value}" for value in self.values]
        return [*frequent, f"{column}~{OTHER}"] if self.pooled else frequent

    def encode(self, values: ArrowColumn) -> sparse.csr_array:
        """Return float32 CSR, rows x `names`."""
        stated, codes = _coded(self.values, values)
        other = len(self.values) if self.pooled else -1
        return indicators(np.where(codes >= 0, codes, np.where(stated, other, -1)), len(self.values) + self.pooled)


@dataclass(frozen=True)
class Embedded:
    """A vector for each known value, and a flag for a value without one: missing, unseen, or without contexts."""

    kind: ClassVar[str] = "embedded"

    values: NDArray[np.str_]
    vectors: NDArray[np.float32]
    """[n_values, size], scaled so that the root mean square of the entries over the training rows is 1."""

    @classmethod
    def fit(cls, values: ArrowColumn, embedding: Embedding) -> Self | None:
        """Scale the vectors of an embedding to this column; None if no row has a vector."""
        order = np.argsort(embedding.values, kind="stable")
        names, vectors = embedding.values[order], embedding.vectors[order].astype(np.float64)
        rows = np.bincount(_known(_coded(names, values)[1]), minlength=len(names))
        power = float(rows @ (vectors**2).mean(axis=1)) / max(int(rows.sum()), 1) if vectors.size else 0.0
        return cls(names, (vectors / np.sqrt(power)).astype(np.float32)) if power > 0 else None

    def names(self, column: str) -> list[str]:
        """Return `column~0` and so on, then `column~unknown`."""
        return [*(f"{column}~{place}" for place in range(self.vectors.shape[1])), f"{column}~unknown"]

    def encode(self, values: ArrowColumn) -> sparse.csr_array:
        """Return float32 CSR, rows x `names`."""
        codes = _coded(self.values, values)[1]
        unknown = codes < 0
        vectors = np.where(unknown[:, None], np.float32(0), self.vectors[codes])
        return sparse.csr_array(np.column_stack([vectors, unknown.astype(np.float32)]))


@dataclass(frozen=True)
class Hashed:
    """A bucket for each value by a seeded hash, equal on every machine; a missing value is 0 in every column."""

    kind: ClassVar[str] = "hashed"

    buckets: int
    seed: int

    def names(self, column: str) -> list[str]:
        """Return `column#0` and so on."""
        return [f"{column}#{bucket}" for bucket in range(self.buckets)]

    def encode(self, values: ArrowColumn) -> sparse.csr_array:
        """Return float32 CSR, rows x `names`."""
        names, codes = vocabulary(values)
        bucket = np.array([*(self._bucket(name) for name in names), -1], dtype=np.int64)
        return indicators(bucket[codes], self.buckets)

    def _bucket(self, value: str) -> int:
        salt = self.seed.to_bytes(8, "little", signed=True)
        return (
            int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8, salt=salt).digest(), "little") % self.buckets
        )


def _coded(vocabulary_: NDArray[np.str_], values: ArrowColumn) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return which rows hold a value, and the position of the value in the vocabulary, or -1."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    stated: NDArray[np.bool_] = np.asarray(whole.is_valid())
    return stated, np.where(stated, index_of(vocabulary_, whole), np.int32(-1))


def _known(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    return codes[codes >= 0]


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
