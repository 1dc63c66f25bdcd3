"""Divides the time of a search, from the start of its command until its result is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

_STORING: Final = 10.0
"""Assumed seconds to store a result, before any search of this run was measured."""
_MOST: Final = 1 / 3
"""Largest part of a model's time that is reserved for storing. Otherwise a short search would try nothing."""


@dataclass
class Deadline:
    """The time for several models, one after the other. Without `seconds` it never ends."""

    seconds: float | None
    clock: Callable[[], float] = monotonic
    storing: float = _STORING
    """Seconds that storing takes: the longest time of this run, once there is one."""
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Return the seconds since it began."""
        return self.clock() - self.began

    def share(self, models: int) -> float | None:
        """Return the minutes for the next of so many remaining models; unused time goes to later models."""
        return None if self.seconds is None else max(1.0, self.seconds - self.spent) / models / 60

    def for_trials(self, opening: float, *, longer: float = 0.0) -> float | None:
        """Return the seconds from now on for trying settings; `opening` is the duration of the first calls.

        A machine that was slow in them is slow at storing, too. `longer` are seconds borrowed from other models.
        """
        if self.seconds is None:
            return None
        seconds = self.seconds + longer
        reserve = min(max(self.storing, opening), _MOST * seconds)
        return max(0.0, seconds - self.spent - reserve)

    @property
    def remaining(self) -> float:
        """Return the seconds until it ends; 0 without an end."""
        return max(0.0, self.seconds - self.spent) if self.seconds is not None else 0.0

    def over(self) -> bool:
        """Return whether no time is left."""
        return self.seconds is not None and self.spent >= self.seconds
