"""States within a state: the arrays of a part, each under the part's name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.primitives.state import State


def under(prefix: str, part: State) -> State:
    """The arrays of a part as `<prefix><name>`."""
    return {prefix + name: array for name, array in part.items()}


def part_of(prefix: str, state: Mapping[str, np.ndarray[Any, Any]]) -> State:
    """The arrays that were put `under` this prefix, by their own names; none when no part was."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
