"""The time that a search may take, from the start of its command until what it found is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

_STORING: Final = 10.0
"""Seconds to store what was found, before any search of this run was measured."""
_MOST: Final = 1 / 3
"""Part of a model's time that is kept for storing, at most: otherwise a short search would try nothing."""


@dataclass
class Deadline:
    """Time left for several models, one after the other. Without `seconds` there is no end."""

    seconds: float | None
    clock: Callable[[], float] = monotonic
    storing: float = _STORING
    """Seconds that storing takes: the longest of this run, once one was measured."""
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.began

    def share(self, models: int) -> float | None:
        """Minutes for the next of so many models that are left: what one does not use is for those after it."""
        return None if self.seconds is None else max(1.0, self.seconds - self.spent) / models / 60

    def for_trials(self, opening: float, *, longer: float = 0.0) -> float | None:
        """Seconds from now on in which settings may be tried; `opening` is how long the first calls have taken.

        A machine that took long for them takes long to store, too. `longer` is what may be taken from other models.
        """
        if self.seconds is None:
            return None
        seconds = self.seconds + longer
        reserve = min(max(self.storing, opening), _MOST * seconds)
        return max(0.0, seconds - self.spent - reserve)

    @property
    def left(self) -> float:
        """Seconds until it ends; 0 without an end."""
        return max(0.0, self.seconds - self.spent) if self.seconds is not None else 0.0

    def over(self) -> bool:
        """Return whether no time is left."""
        return self.seconds is not None and self.spent >= self.seconds
