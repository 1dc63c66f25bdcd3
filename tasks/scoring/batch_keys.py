"""Derives a batch's key from its inputs: the same inputs are the same batch."""

import json
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import TailorbirdError
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.placement_config import Placement
from tasks.promotion.champion import Champion
from tasks.scoring import batch_state


def batch_spec(name: str, placement: Placement, champion: Champion, inputs: str) -> batch_state.BatchSpec:
    """Return the spec of a batch; the same champion, length and digest of the `inputs` are the same batch."""
    version, k = champion["model_version"], placement.k
    key = f"v{version}-{k}-{inputs}"
    return batch_state.BatchSpec(name, key, version, champion["dataset_version"], k, placement.subject)


def check_length(name: str, k: int, rules: CompiledRules) -> None:
    """Raise TailorbirdError if no list could be full."""
    if k > rules.allowed.sum():
        raise TailorbirdError(
            f"Only {rules.allowed.sum()} items can be recommended at {name!r}: ask for lists of at most that "
            "length, or loosen its rules."
        )


def digest(placement: Placement, *inputs: Any) -> str:
    """Return a short digest of everything that lists are built from."""
    digested = sha256(placement.model_dump_json().encode())
    for part in inputs:
        if isinstance(part, CompiledRules):
            for array in (part.allowed, part.boost, part.promoted, *(cap.group for cap in part.caps)):
                digested.update(_bytes(array))
        elif isinstance(part, np.ndarray):
            digested.update(_bytes(part))
        else:
            digested.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digested.hexdigest()[:12]


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array without a copy: keys of a million users are hundreds of MB."""
    return memoryview(np.ascontiguousarray(array).view(np.uint8))  # type: ignore[arg-type]
