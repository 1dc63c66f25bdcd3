"""Build the targets that recommendations are measured against: the purchases after the cut."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from models.columns import ITEM_ID, OCCURRED_AT, RECEIVED_AT, REFUNDED_AT, USER_KEY
from models.datasets.training_data import TrainingData


def known_before(interactions: pa.Table, moment: int, since: int | None = None) -> pa.Table:
    """Return the purchases that had happened (from `since` on) and were known before `moment` (epoch s).

    A refunded purchase counts until its refund was known. Missing columns exclude no rows.
    """
    occurred = interactions[OCCURRED_AT]
    selected: pa.ChunkedArray = pc.less(occurred, moment)
    if since is not None:
        selected = pc.and_(selected, pc.greater_equal(occurred, since))
    if RECEIVED_AT in interactions.column_names:
        selected = pc.and_(selected, pc.less(interactions[RECEIVED_AT], moment))
    if REFUNDED_AT in interactions.column_names:
        stands = pc.fill_null(pc.greater_equal(interactions[REFUNDED_AT], moment), True)
        selected = pc.and_(selected, stands)
    return interactions.filter(selected)


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
