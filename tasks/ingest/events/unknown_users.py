"""Counts the unknown users of a file of events: the file of another shop has no others."""

import numpy as np
import pyarrow.compute as pc

from expectations.events import IN_CATALOGUE
from models import columns
from tasks.ingest.events.event_chunk import ClassifiedChunk
from tasks.ingest.validation import row_triage
from tasks.quality.chunk_profile import UserCounts


def count_users(classified: ClassifiedChunk, dropped: row_triage.Mask) -> UserCounts:
    """Return how many users a chunk names, how many of them are known, and how many rows name a known item.

    `unanswered` are the rows that were `dropped` because their user never answered.
    """
    events, known = classified.events, classified.known_users
    never = np.append(classified.unanswered_users, False)[events[row_triage.USER_CODE].to_numpy()]
    unanswered = dropped & pc.is_null(events[columns.CONSENT]).to_numpy() & never
    items = int(pc.sum(events[IN_CATALOGUE]).as_py() or 0)
    return {"named": len(known), "known": int(known.sum()), "items": items, "unanswered": int(unanswered.sum())}
