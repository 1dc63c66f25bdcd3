"""Select the purchases of a data set that are known at a moment and not refunded by then."""

import pyarrow as pa
import pyarrow.compute as pc

from models.columns import OCCURRED_AT, RECEIVED_AT, REFUNDED_AT


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
