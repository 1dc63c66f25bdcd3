"""Which rows of a data set's purchases are known at a moment: what came later, or was taken back by then, is none."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.columns import OCCURRED_AT, RECEIVED_AT, REFUNDED_AT


def known_before(interactions: pa.Table, moment: int, since: int | None = None) -> pa.Table:
    """Return the purchases that had happened (from `since` on) and were known before `moment` (epoch s).

    A purchase that was taken back counts until that was known. Columns that a table lacks exclude nothing.
    """
    occurred = interactions[OCCURRED_AT]
    kept: Any = pc.less(occurred, moment)
    if since is not None:
        kept = pc.and_(kept, pc.greater_equal(occurred, since))
    if RECEIVED_AT in interactions.column_names:
        kept = pc.and_(kept, pc.less(interactions[RECEIVED_AT], moment))
    if REFUNDED_AT in interactions.column_names:
        stands = pc.fill_null(pc.greater_equal(interactions[REFUNDED_AT], moment), True)
        kept = pc.and_(kept, stands)
    return interactions.filter(kept)
