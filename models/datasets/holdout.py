"""Build the targets that recommendations are measured against: the purchases after the cut."""

import numpy as np
import pyarrow as pa
from scipy import sparse

from models.columns import ITEM_ID, USER_KEY
from models.datasets.training_data import TrainingData, known_before


def targets(interactions: pa.Table, data: TrainingData, start: int, end: int) -> sparse.csr_array:
    """Return the items bought in [start, end), epoch seconds, as known at the end: boolean CSR, users x items.

    Users and items without history before the cut are left out, because no model could know them.
    Raises ValueError if the window begins before the cut, because the models have seen those purchases.
    """
    if start < data.cut:
        raise ValueError(f"Targets from {start} on, but the training data reach up to {data.cut}.")
    rows = known_before(interactions, end, since=start)
    user, item = data.user_index(rows[USER_KEY]), data.item_index(rows[ITEM_ID])
    known = (user >= 0) & (item >= 0)
    bought = np.ones(int(known.sum()), dtype=bool)
    shape = (len(data.users), len(data.items))
    return sparse.csr_array((bought, (user[known], item[known])), shape=shape)
