"""Users of models from before a rotation of the pseudonym key, by the keys that they have now."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.configuration.settings import load
from infra.keys.credentials import find_secret
from infra.keys.fingerprints import PSEUDONYM
from infra.keys.identity import rekeyed
from infra.keys.key_chain import remaining
from models.errors import TailorbirdError


class OtherKeyError(TailorbirdError):
    """A key that does not give the names of the model's users."""


Arrays = dict[str, NDArray[Any]]
_USERS: Final = "users"


def present(arrays: Arrays, named_by: str | None) -> Arrays:
    """Stored arrays with the present keys of their users, where these were named by an earlier key of this host.

    `named_by` is the fingerprint of the key that named them. Without a key on the host the names stay.
    """
    added = _added(named_by)
    if not added:
        return arrays
    return {name: _renamed(array, added) if _names_users(name, array) else array for name, array in arrays.items()}


def present_column(rows: pa.Table, name: str, named_by: str | None) -> pa.Table:
    """Stored rows with the present keys of the users in that column."""
    added = _added(named_by)
    if not added:
        return rows
    return rows.set_column(rows.column_names.index(name), name, rekeyed(rows[name].combine_chunks(), added))


def _added(named_by: str | None) -> list[str]:
    key = find_secret(load(), PSEUDONYM)
    return (remaining(key, named_by) or []) if key else []


def _names_users(name: str, array: NDArray[Any]) -> bool:
    return name.rpartition(".")[2] == _USERS and array.dtype.kind == "U"


def _renamed(array: NDArray[Any], added: list[str]) -> NDArray[np.str_]:
    return np.array(rekeyed(pa.array(array.tolist(), pa.string()), added).to_pylist(), dtype=np.str_)
