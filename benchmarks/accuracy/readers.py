"""Reads files of interactions as recommender benchmarks publish them: lines of text, or a matrix."""

import gzip
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import TailorbirdError

_GZIP: Final = b"\x1f\x8b"


class BadFileError(TailorbirdError):
    """A file cannot be read as interactions."""


class Interactions(NamedTuple):
    """n interactions in the order of the file."""

    user: NDArray[np.str_]
    item: NDArray[np.str_]


def read(path: Path) -> Interactions:
    """Read interactions from a file: lines `user item` or `user item item …`, plain or gzip, or a SciPy matrix.

    Rows and columns of a matrix are named by their numbers. Raises BadFileError.
    """
    try:
        matches = _matrix(path) if path.suffix == ".npz" else _lines(path)
    except (OSError, EOFError, UnicodeDecodeError, ValueError, zipfile.BadZipFile) as error:
        raise BadFileError(f"{path} cannot be read: {error}") from error
    if not len(matches.user):
        raise BadFileError(f"{path} holds no interactions.")
    return matches


def train_and_test(path: Path, test: Path | None) -> tuple[Path, Path]:
    """Return the two files of a split: `path` and `test`, or those of the folder `path` called train* and test*.

    Raises BadFileError if the folder does not have exactly one of each.
    """
    if test is not None:
        return path, test
    if not path.is_dir():
        raise BadFileError(f"{path} is no folder: give one with a train* and a test* file, or name the test by --test.")
    return _only(path, "train"), _only(path, "test")


def _only(folder: Path, prefix: str) -> Path:
    matches = sorted(folder.glob(f"{prefix}*"))
    if len(matches) != 1:
        names = ", ".join(file.name for file in matches) or "none"
        raise BadFileError(f"{folder} should hold one {prefix}* file; there: {names}.")
    return matches[0]


def _matrix(path: Path) -> Interactions:
    matrix = sparse.csr_array(sparse.load_npz(path))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    user = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return Interactions(user.astype(np.str_), matrix.indices.astype(np.str_))


def _lines(path: Path) -> Interactions:
    user: list[str] = []
    item: list[str] = []
    for number, line in enumerate(lines(path), start=1):
        name, *items = line.split() or [""]
        if name and not items:
            raise BadFileError(f"{path}, line {number}: a user without an item; lines are `user item item …`.")
        user += [name] * len(items)
        item += items
    return Interactions(np.array(user, dtype=np.str_), np.array(item, dtype=np.str_))


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, plain or gzip."""
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    with gzip.open(path, "rt", encoding="utf-8") if zipped else path.open(encoding="utf-8") as file:
        yield from file
