"""Columns of users and items as tags: a sparse 0/1 matrix with readable tag names."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY, CATEGORY_SEPARATOR

BUCKETS: Final = 5


def one_hot(table: pa.Table, columns: Sequence[str]) -> tuple[Any, NDArray[np.str_]]:
    """float32 CSR (rows x tags) and the tag names; a missing value gives no tag.

    Words become `column=value`, a category path one tag a level, numbers one of five equally full buckets.
    """
    blocks, names = [sparse.csr_array((table.num_rows, 0), dtype=np.float32)], []
    for column, values in _spread(table, columns):
        coded = values.dictionary_encode()
        blocks.append(indicators(np.asarray(pc.fill_null(coded.indices, -1)), len(coded.dictionary)))
        names += [f"{column}={value}" for value in coded.dictionary.to_pylist()]
    matrix = sparse.csr_array(sparse.hstack(blocks, format="csr", dtype=np.float32))
    return matrix, np.array(names, dtype=np.str_)


def indicators(codes: NDArray[np.integer[Any]], width: int) -> Any:
    """float32 CSR (rows x `width`) with a 1 at each row's code; nothing where it is -1."""
    known = np.flatnonzero(codes >= 0)
    ones = np.ones(len(known), dtype=np.float32)
    return sparse.csr_array((ones, (known, codes[known])), shape=(len(codes), width))


def category_level(paths: Any, level: int) -> Any:
    """The first `level` + 1 parts of each category path; null where the path has no name on that level."""
    part = f"[^{CATEGORY_SEPARATOR}]"
    pattern = f"^(?P<path>(?:{part}*[{CATEGORY_SEPARATOR}]){{{level}}}{part}+)"
    return pc.struct_field(pc.extract_regex(paths, pattern), "path")


def _spread(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for column in columns:
        values = table[column].combine_chunks()
        if column == CATEGORY:
            depth = pc.max(pc.count_substring(values, CATEGORY_SEPARATOR)).as_py()
            for level in range(0 if depth is None else depth + 1):
                yield column, category_level(values, level)
        elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            yield column, _buckets(values)
        else:
            yield column, values.cast(pa.string())


def _buckets(values: Any) -> Any:
    """Numbers as `1of5` … `5of5` by rank; equal numbers share a bucket, so some may stay empty."""
    numbers = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
    known = ~np.isnan(numbers)
    if not known.any():
        return pa.nulls(len(numbers), pa.string())
    edges = fifths(numbers[known])
    names = np.array([f"{bucket}of{BUCKETS}" for bucket in range(1, BUCKETS + 1)])
    return pa.array(names[np.searchsorted(edges, numbers)].tolist(), pa.string(), mask=~known)


def fifths(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The four bounds between five equally full buckets."""
    edges: NDArray[np.float64] = np.quantile(numbers, np.arange(1, BUCKETS) / BUCKETS)
    return edges
