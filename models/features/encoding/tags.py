"""Encode columns of users and items as tags: a sparse 0/1 matrix with readable tag names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY, CATEGORY_SEPARATOR
from models.primitives.arrow import pa, pc

if TYPE_CHECKING:
    from models.primitives.arrow_types import ArrowColumn

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
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))


def fifths(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the four bounds between five equally full buckets."""
    edges: NDArray[np.float64] = np.quantile(numbers, np.arange(1, BUCKETS) / BUCKETS)
    return edges
