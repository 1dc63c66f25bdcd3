"""Looks up what hides items from one user, by the same reads as for all users."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from infra.installation import Installation, current
from models.errors import TailorbirdError
from models.lists.rules.placement_config import EVER, Placement
from tasks.lake.event_engine import shared_reference_data
from tasks.lake.reference_data import ReferenceData
from tasks.lake.user_item_history import due, fully_refunded, hidden, item_ages


@dataclass(frozen=True)
class Lookups:
    """Questions about one item, answered from the events of the lake."""

    installation: Installation

    @cached_property
    def reference(self) -> ReferenceData:
        """The known users and batches at the first question."""
        return shared_reference_data(self.installation)

    def age_days(self, item: str) -> float:
        """Return the days since the item was first seen; NaN if it never was."""
        return float(item_ages(self.installation, np.array([item], dtype=np.str_), self.reference)[0])

    def fully_refunded(self, item: str) -> bool:
        """Return whether every purchase of the item was refunded."""
        return bool(fully_refunded(self.installation, np.array([item], dtype=np.str_), self.reference)[0])

    def hidden_by(self, key: str, item: str, placement: Placement) -> list[tuple[str, float | str]]:
        """Return the windows of `hide` that hide the item from the user: the type of event, and days or `ever`."""
        return [window for window in placement.rules.hide.items() if self._has_event(key, item, dict([window]))]

    def bought(self, key: str, item: str) -> bool:
        """Return whether the user ever bought the item and kept it."""
        return self._has_event(key, item, {"purchase": EVER})

    def returned(self, key: str, item: str) -> bool:
        """Return whether the user bought the item, and every purchase of it was refunded."""
        return self._has_event(key, item, {}, returned=True)

    def is_due(self, key: str, item: str) -> bool:
        """Return whether the user bought the item, and long enough ago."""
        return bool(due(self.installation, *self._pair(key, item), self.reference).nnz)

    def _has_event(self, key: str, item: str, windows: dict[str, float | str], *, returned: bool = False) -> bool:
        pair = self._pair(key, item)
        events = hidden(self.installation, *pair, windows, self.reference, returned=returned)
        return events is not None and bool(events.nnz)

    def _pair(self, key: str, item: str) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        return np.array([key], dtype=np.str_), np.array([item], dtype=np.str_)


def available_lookups() -> Lookups | None:
    """Return the look-ups, or None on a host that may not read the events."""
    try:
        made = Lookups(current())
        made.installation.engine.connect().close()
    except (TailorbirdError, SQLAlchemyError):
        return None
    return made
