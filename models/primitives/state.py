"""The form in which models are stored: named arrays, and the arrays of their parts, for each of their fields."""

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


def parts(name: str, matrix: sparse.csr_array) -> State:
    """Return the arrays of a CSR matrix, as `<name>.<part>`."""
    return {f"{name}.{part}": getattr(matrix, part) for part in _PARTS}


def whole(name: str, state: Arrays, shape: tuple[int, int]) -> sparse.csr_array:
    """Rebuild the CSR matrix from its arrays; entries of other names are ignored."""
    return sparse.csr_array(tuple(state[f"{name}.{part}"] for part in _PARTS), shape=shape)


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
