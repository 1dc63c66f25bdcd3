"""Define the state of a model: named arrays, and the arrays of its parts under a prefix."""

from collections.abc import Mapping
from typing import Any

import numpy as np

State = dict[str, np.ndarray[Any, Any]]
"""A fitted model as named arrays, none of dtype object, so that it is stored without pickle."""


def under(prefix: str, part: State) -> State:
    """Return the arrays of a part as `<prefix><name>`."""
    return {prefix + name: array for name, array in part.items()}


def part_of(prefix: str, state: Mapping[str, np.ndarray[Any, Any]]) -> State:
    """Return the arrays that `under` stored with this prefix, by their own names; empty if there are none."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
