"""Counts the users of a file of events of whom nothing is known: the file of another shop names nobody else."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations.events import IN_CATALOGUE
from models import columns
from tasks import sift

PEOPLE: Final = "people"
"""The name of these counts in the profile of a chunk."""
_ENOUGH: Final = 20
"""Of so many users a file of a known shop names somebody who is known."""


def counted(keys: pa.ChunkedArray, known: NDArray[np.bool_], events: pa.Table, dropped: sift.Mask) -> dict[str, int]:
    """Return how many users a chunk names, how many of them are `known`, and how many rows name a known item.

    `unanswered` are the rows that were `dropped` because their user, who is not known, never answered.
    """
    codes = events[sift.USER_CODE].to_numpy()
    unanswered = dropped & pc.is_null(events[columns.CONSENT]).to_numpy() & ~np.append(known, True)[codes]
    items = int(pc.sum(events[IN_CATALOGUE]).as_py() or 0)
    return {"named": len(keys), "known": int(known.sum()), "items": items, "unanswered": int(unanswered.sum())}


def remarks(profiles: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the ledger remarks on the users of a batch, by the profiles of its chunks."""
    chunks = [profile[PEOPLE] for profile in profiles if PEOPLE in profile]
    named, known, items, unanswered = (
        sum(chunk[name] for chunk in chunks) for name in ("named", "known", "items", "unanswered")
    )
    found = []
    if named >= _ENOUGH and not known:
        users = f"None of its {named:,} users" if len(chunks) == 1 else "None of its users"
        both = users if items else f"{users} and none of its items"
        found = [f"{both} is known: is it another shop's file? `tailorbird ledger undo BATCH` removes it."]
    if unanswered:
        rows = "1 suppressed row is" if unanswered == 1 else f"{unanswered:,} suppressed rows are"
        found.append(f"{rows} of users whose answer about consent is not known.")
    return found
