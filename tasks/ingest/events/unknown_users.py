"""Counts the unknown users of a file of events: the file of another shop has no others."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations.events import IN_CATALOGUE
from models import columns
from tasks.ingest.validation import row_triage
from tasks.quality.chunk_profile import UserCounts


def count_users(known: NDArray[np.bool_], events: pa.Table, dropped: row_triage.Mask) -> UserCounts:
    """Return how many users a chunk names, how many of them are `known`, and how many rows name a known item.

    `unanswered` are the rows that were `dropped` because their unknown user never answered.
    """
    codes = events[row_triage.USER_CODE].to_numpy()
    unanswered = dropped & pc.is_null(events[columns.CONSENT]).to_numpy() & ~np.append(known, True)[codes]
    items = int(pc.sum(events[IN_CATALOGUE]).as_py() or 0)
    return {"named": len(known), "known": int(known.sum()), "items": items, "unanswered": int(unanswered.sum())}
