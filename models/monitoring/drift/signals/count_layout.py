"""The layout of the counts per user of a window.

All signals are functions of sums over users, so that users can be resampled without reading their events again.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.columns import EVENT_TYPES
from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.user_behaviour import FEATURES

BINS: Final = 10
PLACES: Final = 11
"""Positions on a list with counts of their own; the last one covers all positions below."""
MISSING: Final = ("value", "quantity", "currency", "session", "position", "recommendation_id")
"""Columns that may be empty: the first three of purchases, the last two of impressions."""

_WIDTHS: Final = {
    **dict.fromkeys(FEATURES, BINS + 1),  # and one for unknown values
    "popularity": BINS,
    **dict.fromkeys(("interactions", "new items", "users", "new users", "buyers"), 1),
    **dict.fromkeys(("anchors", "likeness"), 1),
    **dict.fromkeys(("shown", "clicked", "control shown", "control clicked"), PLACES),
    "types": len(EVENT_TYPES),
    **dict.fromkeys(("missing", "of"), len(MISSING)),
    **dict.fromkeys(("priced", "odd prices"), 1),
}
_ENDS: Final = np.cumsum(list(_WIDTHS.values()))
PLACE: Final = {name: slice(end - _WIDTHS[name], end) for name, end in zip(_WIDTHS, _ENDS.tolist(), strict=True)}
"""The columns of each count."""
WIDTH: Final = int(_ENDS[-1])


@dataclass(frozen=True)
class Sums:
    """Counts summed over users, for one or several samples."""

    values: Floats
    """[..., WIDTH]"""

    def __getitem__(self, name: str) -> Floats:
        """Return one count [..., width]; of width 1 as [...]."""
        counts: Floats = self.values[..., PLACE[name]]
        return counts[..., 0] if _WIDTHS[name] == 1 else counts
