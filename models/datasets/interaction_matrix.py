"""Build user-item matrices whose weights decay with age."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.state import entries
from models.primitives.time import DAY

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


def baskets(data: "TrainingData", half_life_days: float) -> sparse.csr_array:
    """Return baskets, each decayed by its age at the cut: float32 CSR, users x items."""
    shape = (len(data.users), len(data.items))
    return sparse.csr_array((decay(data, half_life_days), (data.user, data.item)), shape=shape)


def profiles(data: "TrainingData", half_life_days: float) -> sparse.csr_array:
    """Return events decayed by their age at the user's latest event: float32 CSR, users x items."""
    latest = np.full(len(data.users), np.iinfo(np.int64).min)
    np.maximum.at(latest, data.user, data.occurred_at)
    age = (latest[data.user] - data.occurred_at) / DAY
    weight = np.exp2(-age / half_life_days).astype(np.float32)
    own = sparse.csr_array((weight, (data.user, data.item)), shape=(len(data.users), len(data.items)))
    own.eliminate_zeros()
    return own


def rows(own: sparse.csr_array, users: NDArray[np.int32]) -> sparse.csr_array:
    """Return the rows of these users as CSR [m, n_items]; an empty row for unknown users (-1)."""
    if not own.shape[0]:
        return sparse.csr_array((len(users), own.shape[1]), dtype=np.float32)
    found = entries(own.indptr, users)
    indptr = np.searchsorted(found.row, np.arange(len(users) + 1))
    return sparse.csr_array((own.data[found.at], own.indices[found.at], indptr), shape=(len(users), own.shape[1]))


def decay(data: "TrainingData", half_life_days: float) -> NDArray[np.float32]:
    """Return the weight of each event ([n]): 1 at the cut, halved for every `half_life_days` before it."""
    weight: NDArray[np.float32] = np.exp2(-data.age_days() / half_life_days)
    return weight
