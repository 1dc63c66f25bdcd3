"""Encode tables as matrices: by an encoder that is stored with its model, or as tags, a 0/1 matrix with readable names.

Both are fitted on the training part. For the encoder a column of words becomes one column per value, because traits
have few groups when they are encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY, CATEGORY_SEPARATOR
from models.features.encoding.traits import is_number
from models.primitives.arrow_types import ArrowColumn, pa, pc
from models.primitives.state import State
from models.primitives.vocabulary import as_text, index_of

BUCKETS: Final = 5

_ARRAYS: Final = ("columns", "edges", "names")


@dataclass(frozen=True)
class Tags:
    """The tags of a table, learned once, so that later rows get the same tags."""

    columns: NDArray[np.str_]
    edges: NDArray[np.float64]
    """[n_columns, 4] bounds between the buckets of numbers; NaN for words."""
    names: NDArray[np.str_]
    """`column=value` of each tag, grouped by column."""

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[str]) -> Self:
        """Learn the tags that occur in these columns of the table."""
        edges = np.array([_edges(table[name]) for name in columns], dtype=np.float64).reshape(-1, BUCKETS - 1)
        learned = cls(np.array(columns, dtype=np.str_), edges, np.empty(0, dtype=np.str_))
        values = [words.unique().drop_null().to_pylist() for words in learned._tag_columns(table)]
        names = [name for part in values for name in part]
        return cls(learned.columns, edges, np.array(names, dtype=np.str_))

    @classmethod
    def none(cls) -> Self:
        """Return rules without columns."""
        empty = np.empty(0, dtype=np.str_)
        return cls(empty, np.empty((0, BUCKETS - 1)), empty)

    def encode(self, table: pa.Table) -> sparse.csr_array:
        """Return float32 CSR (rows x tags); an unseen value gives no tag, nor does a missing column."""
        matrix = sparse.csr_array((table.num_rows, len(self.names)), dtype=np.float32)
        names = pa.array(self.names.tolist(), pa.large_string())
        for words in self._tag_columns(table):
            codes = np.asarray(pc.fill_null(pc.index_in(words, value_set=names), -1))
            matrix = matrix + indicators(codes, len(self.names))
        return matrix

    @property
    def column_of(self) -> NDArray[np.str_]:
        """Return the column that each tag comes from."""
        return np.array([name.partition("=")[0] for name in self.names.tolist()], dtype=np.str_)

    def state(self, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return the state as `<prefix>.<name>`: arrays without dtype object."""
        return {f"{prefix}.{name}": getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_state(cls, prefix: str, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild it from its state; entries of other names are ignored."""
        return cls(*(state[f"{prefix}.{name}"] for name in _ARRAYS))

    def _tag_columns(self, table: pa.Table) -> Iterator[pa.Array]:
        """Yield the columns as tag names, a category path as one column per level; null without a value."""
        for column, edges in zip(self.columns.tolist(), self.edges, strict=True):
            if column in table.column_names:
                values = table[column].combine_chunks()
                for words in _levels(values) if column == CATEGORY else [_words(values, edges)]:
                    yield pc.binary_join_element_wise(_text(f"{column}="), words.cast(pa.large_string()), _text(""))


def one_hot(table: pa.Table, columns: Sequence[str]) -> tuple[sparse.csr_array, NDArray[np.str_]]:
    """Return float32 CSR (rows x tags) and the tag names; a missing value gives no tag.

    Words become `column=value`, a category path one tag per level, numbers one of five equally full buckets.
    """
    tags = Tags.fit(table, columns)
    return tags.encode(table), tags.names


def indicators(codes: NDArray[np.integer[Any]], width: int) -> sparse.csr_array:
    """Return float32 CSR (rows x `width`) with a 1 at the code of each row; a code of -1 leaves the row empty."""
    known = np.flatnonzero(codes >= 0)
    ones = np.ones(len(known), dtype=np.float32)
    return sparse.csr_array((ones, (known, codes[known])), shape=(len(codes), width))


def category_level(paths: pa.Array, level: int) -> pa.Array:
    """Return the first `level` + 1 parts of each category path; null if the path has no name on that level."""
    part = f"[^{CATEGORY_SEPARATOR}]"
    pattern = f"^(?P<path>(?:{part}*[{CATEGORY_SEPARATOR}]){{{level}}}{part}+)"
    return pc.struct_field(pc.extract_regex(paths, pattern), "path")


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, pa.large_string())


def _levels(paths: pa.Array) -> list[pa.Array]:
    depth = pc.max(pc.count_substring(paths, CATEGORY_SEPARATOR)).as_py()
    return [category_level(paths, level) for level in range(0 if depth is None else depth + 1)]


def _edges(values: ArrowColumn) -> NDArray[np.float64]:
    numbers = _numbers(values) if _is_number(values.type) else np.empty(0)
    known = numbers[~np.isnan(numbers)]
    return fifths(known) if len(known) else np.full(BUCKETS - 1, np.nan)


def _words(values: pa.Array, edges: NDArray[np.float64]) -> pa.Array:
    """Return words unchanged, numbers as `1of5` … `5of5` by rank; equal numbers share a bucket."""
    if np.isnan(edges).any() or not _is_number(values.type):
        return values
    numbers = _numbers(values)
    names = np.array([f"{bucket}of{BUCKETS}" for bucket in range(1, BUCKETS + 1)])
    return pa.array(names[np.searchsorted(edges, numbers)].tolist(), pa.string(), mask=np.isnan(numbers))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(values: ArrowColumn) -> NDArray[np.float64]:
    """Return a copy as float64, NaN for null."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return np.array(whole.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def fifths(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the four bounds between five equally full buckets."""
    return np.quantile(numbers, np.arange(1, BUCKETS) / BUCKETS)


OTHER: Final = "other"
MIN_ROWS: Final = 5
"""A value in fewer training rows is pooled with the other rare values."""
HEAVY_TAIL: Final = 2.0
"""Skewness (third standardised moment) above which a tail is heavy; that of the exponential distribution."""


@dataclass(frozen=True)
class Scaled:
    """The fitted values of one column; a missing number is null, NaN or infinite."""

    kind: ClassVar[str] = "scaled"

    logged: bool
    """Whether log(1 + x) comes first: no negative number, a heavy tail, and a less skewed logarithm."""
    fill: float
    """The value of a missing number; like `mean`, on the scale after the logarithm."""
    mean: float
    factor: float
    """1 / standard deviation; 0 for a constant, which carries no information."""
    flagged: bool
    """Whether missing numbers have a column of their own: only if the fit had any."""

    @classmethod
    def fit(cls, values: ArrowColumn) -> Self:
        """Learn from an Arrow column of numbers. Mean and deviation are those of the filled column."""
        numbers = _numbers(values)
        known = numbers[np.isfinite(numbers)]
        flagged = len(known) < len(numbers)
        if not len(known):
            return cls(logged=False, fill=0.0, mean=0.0, factor=0.0, flagged=flagged)
        logged = _heavy(known)
        known = np.log1p(known) if logged else known
        fill = float(np.median(known))
        filled = np.concatenate([known, np.full(len(numbers) - len(known), fill)])
        deviation = float(filled.std())
        # The deviation of equal numbers can be a rounding error above 0.
        factor = 1 / deviation if np.ptp(known) > 0 and deviation > 0 else 0.0
        return cls(logged, fill, float(filled.mean()), factor, flagged)

    def names(self, column: str) -> list[str]:
        """Return the column itself and its flag, if it has one."""
        return [column, f"{column}=missing"] if self.flagged else [column]

    def encode(self, values: ArrowColumn) -> sparse.csr_array:
        """Return float32 CSR, rows x `names`."""
        numbers = _numbers(values)
        missing = ~np.isfinite(numbers)
        numbers[missing] = 0.0
        scale = np.log1p(np.maximum(numbers, 0.0)) if self.logged else numbers
        scaled = (np.where(missing, self.fill, scale) - self.mean) * self.factor
        blocks = [scaled, missing] if self.flagged else [scaled]
        return sparse.csr_array(np.column_stack(blocks).astype(np.float32))


def _heavy(known: NDArray[np.float64]) -> bool:
    if known.min() < 0:
        return False
    skew = _skewness(known)
    return skew > HEAVY_TAIL and abs(_skewness(np.log1p(known))) < skew


def _skewness(values: NDArray[np.float64]) -> float:
    """Return the skewness; 0 for a constant."""
    centred = values - values.mean()
    deviation = float(np.sqrt(np.mean(centred**2)))
    return float(np.mean((centred / deviation) ** 3)) if deviation > 0 else 0.0


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
        codes, other = index_of(self.values, values), len(self.values) if self.pooled else -1
        unseen = (codes < 0) & np.asarray(values.is_valid())
        return indicators(np.where(unseen, other, codes), len(self.values) + self.pooled)


_ColumnEncoding = Scaled | OneHot
_KINDS: Final[Mapping[str, Any]] = {kind.kind: kind for kind in (Scaled, OneHot)}


@dataclass(frozen=True)
class Encoder:
    """One encoding for each column. Transforming uses only the row and the fitted values."""

    columns: tuple[str, ...]
    encodings: tuple[_ColumnEncoding, ...]

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[str], min_rows: int = MIN_ROWS) -> Self:
        """Learn from `table`, which must hold training rows only. Words in fewer than `min_rows` rows share a column.

        The Arrow type decides whether a column holds numbers (or booleans) or words.
        """
        encodings = [
            Scaled.fit(table[column]) if is_number(table[column].type) else OneHot.fit(table[column], min_rows)
            for column in columns
        ]
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


def vocabulary(values: ArrowColumn) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return the distinct words of an Arrow column, sorted, and the position of each row's word; -1 for null."""
    coded = as_text(values).dictionary_encode()
    names, place = np.unique(np.array(coded.dictionary.to_pylist(), dtype=np.str_), return_inverse=True)
    rank = np.append(place, -1)  # code -1 selects the last entry
    codes: NDArray[np.int64] = rank[np.asarray(pc.fill_null(coded.indices, -1))].astype(np.int64)
    return names, codes


def _plain(stored: np.ndarray[Any, Any]) -> Any:
    """Return a stored single value: it is an array without a dimension."""
    return stored.item() if stored.ndim == 0 else stored
