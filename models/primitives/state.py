"""Define how models are stored: named arrays, and the arrays of their parts, such as CSR matrices and pair tables."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import TailorbirdError

_PARTS: Final = ("data", "indices", "indptr")
State = dict[str, np.ndarray[Any, Any]]
"""A fitted model as named arrays, none of dtype object, so that it is stored without pickle."""
Arrays = Mapping[str, np.ndarray[Any, Any]]


def under(prefix: str, part: State) -> State:
    """Return the arrays of a part as `<prefix><name>`."""
    return {prefix + name: array for name, array in part.items()}


def part_of(prefix: str, state: Arrays) -> State:
    """Return the arrays that `under` stored with this prefix, by their own names; empty if there are none."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


class Entries(NamedTuple):
    """The entries of the requested rows, one row after the other."""

    row: NDArray[np.int64]
    """[n] position among the requested rows."""
    at: NDArray[np.int64]
    """[n] position of the entry in the arrays of the matrix."""


def entries(indptr: NDArray[Any], rows: NDArray[Any]) -> Entries:
    """Return the entries of these rows of the matrix with this `indptr`; row -1 has none."""
    known = np.maximum(rows, 0)
    first = indptr[known].astype(np.int64)
    count = np.where(rows >= 0, indptr[known + 1] - first, 0)
    before = np.cumsum(count) - count
    row = np.repeat(np.arange(len(rows)), count)
    return Entries(row, np.arange(len(row)) + (first - before)[row])


def stored_columns(matrix: Any, rows: NDArray[Any]) -> NDArray[np.int32]:
    """Return the columns of the entries of a few rows. For long rows, copies are faster than an index of each entry."""
    bounds = zip(matrix.indptr[rows].tolist(), matrix.indptr[rows + 1].tolist(), strict=True)
    parts = [matrix.indices[first:last] for first, last in bounds]
    return np.concatenate([np.empty(0, dtype=matrix.indices.dtype), *parts])


def places(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each element within its group ([n]), from ascending `groups` [n]."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def parts(name: str, matrix: sparse.csr_array) -> State:
    """Return the arrays of a CSR matrix, as `<name>.<part>`."""
    return {f"{name}.{part}": getattr(matrix, part) for part in _PARTS}


def whole(name: str, state: Arrays, shape: tuple[int, int]) -> sparse.csr_array:
    """Rebuild the CSR matrix from its arrays; entries of other names are ignored."""
    return sparse.csr_array(tuple(state[f"{name}.{part}"] for part in _PARTS), shape=shape)


@dataclass(frozen=True)
class Lookup:
    """n known pairs among `width` columns, in order of their code: row x width + column."""

    width: int
    code: NDArray[np.int64]
    """[n] ascending."""
    values: NDArray[np.float32]
    """[n, f]"""

    @classmethod
    def of(cls, rows: NDArray[Any], columns: NDArray[Any], width: int, values: NDArray[np.float32]) -> Self:
        """Build it from pairs that occur once each; pairs with a negative position are left out."""
        known = np.flatnonzero((rows >= 0) & (columns >= 0))
        code = rows[known].astype(np.int64) * width + columns[known]
        order = np.argsort(code)
        return cls(width, code[order], values[known[order]])

    def find(self, rows: NDArray[Any], columns: NDArray[Any], otherwise: float = np.nan) -> NDArray[np.float32]:
        """Return the values of m pairs as [m, f]; `otherwise` for unknown pairs."""
        values = np.full((len(rows), self.values.shape[1]), otherwise, dtype=np.float32)
        if len(self.code):
            code = rows.astype(np.int64) * self.width + columns
            place = np.minimum(np.searchsorted(self.code, code), len(self.code) - 1)
            known = np.flatnonzero(self.code.take(place) == code)
            values[known] = self.values.take(place.take(known), axis=0)
        return values

    def state(self, name: str) -> State:
        """Return its arrays, each prefixed with `name`."""
        return {f"{name}.width": np.array(self.width), f"{name}.code": self.code, f"{name}.values": self.values}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]], name: str) -> Self:
        """Rebuild it from its state."""
        return cls(int(state[f"{name}.width"]), state[f"{name}.code"], state[f"{name}.values"])


class Part(NamedTuple):
    """How a field that is no array becomes arrays, and how these are read."""

    write: Callable[[Any], State]
    read: Callable[[Arrays], Any]


def number(name: str, read: Callable[[Any], int | float]) -> Part:
    """Return the part of a number."""
    return Part(lambda value: {name: np.array(value)}, lambda state: read(state[name]))


def matrix(name: str, rows: str, columns: str = "items") -> Part:
    """Return the part of a CSR matrix; `rows` and `columns` name the arrays that are as long as the matrix."""
    return Part(partial(parts, name), lambda state: whole(name, state, (len(state[rows]), len(state[columns]))))


@dataclass(frozen=True)
class StoredModel:
    """A model whose state is its fields, by their names. Settings are stored apart, and fields with a default are not.

    `stored` has the parts of the fields that are no arrays.
    """

    kind: ClassVar[str]
    stored: ClassVar[Mapping[str, Part]] = {}

    config: Any
    users: NDArray[np.str_]
    items: NDArray[np.str_]

    def state(self) -> State:
        """Return all arrays."""
        state: State = {}
        for name in self._names():
            value = getattr(self, name)
            state |= self.stored[name].write(value) if name in self.stored else {name: value}
        return state

    @classmethod
    def from_state(cls, config: Any, state: Arrays) -> Self:
        """Return the stored model. Raises TailorbirdError for a model of an earlier version that lacks an array."""
        try:
            read = {name: cls.stored[name].read(state) if name in cls.stored else state[name] for name in cls._names()}
        except KeyError as error:
            raise TailorbirdError(
                f"This {cls.kind} model was stored by an earlier version, without {error}: train and promote it again."
            ) from None
        return cls(config, **read)

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "config" and field.default is MISSING]
