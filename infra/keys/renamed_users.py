"""Re-keys the users of models that were trained before a rotation of the pseudonym key."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.configuration.settings import load
from infra.keys.credentials import find_secret
from infra.keys.fingerprints import PSEUDONYM
from infra.keys.key_chain import hashed, remaining
from models.errors import TailorbirdError

if TYPE_CHECKING:
    import pyarrow as pa


class OtherKeyError(TailorbirdError):
    """This host's key cannot identify the model's users."""


Arrays = dict[str, NDArray[Any]]
_USERS: Final = "users"


def with_present_keys(arrays: Arrays, key_fingerprint: str | None) -> Arrays:
    """Return arrays with the present keys of their users if an earlier key of this host made the stored ones.

    `key_fingerprint` identifies the key that made them. Without a key on this host they stay as they are.
    """
    added = _added(key_fingerprint)
    if not added:
        return arrays
    return {name: _renamed(array, added) if _holds_user_keys(name, array) else array for name, array in arrays.items()}


def column_with_present_keys(rows: "pa.Table", name: str, key_fingerprint: str | None) -> "pa.Table":
    """Return rows with the present keys of the users in one column."""
    added = _added(key_fingerprint)
    if not added:
        return rows
    from infra.keys.identity import rekeyed  # with Arrow and DuckDB, which the bundle itself needs not

    return rows.set_column(rows.column_names.index(name), name, rekeyed(rows[name].combine_chunks(), added))


def _added(key_fingerprint: str | None) -> list[str]:
    key = find_secret(load(), PSEUDONYM)
    return (remaining(key, key_fingerprint) or []) if key else []


def _holds_user_keys(name: str, array: NDArray[Any]) -> bool:
    return name.rpartition(".")[2] == _USERS and array.dtype.kind == "U"


def _renamed(array: NDArray[Any], added: list[str]) -> NDArray[np.str_]:
    return np.array([hashed(name, added) for name in array.tolist()], dtype=np.str_)
