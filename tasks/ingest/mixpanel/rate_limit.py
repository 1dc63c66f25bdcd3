"""Keeps the rate of requests to Mixpanel below its limits."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tasks.orchestration.run_artifacts import announce

PER_SECOND: Final = 3
PER_HOUR: Final = 60
"""Mixpanel's limits of queries, for the export and for profiles. Requests follow each other, so none are concurrent."""
_HOUR: Final = 3600.0
_WORTH_A_MESSAGE: Final = 60.0


@dataclass
class RateLimit:
    """Delays requests. It knows only those of this process; Mixpanel itself refuses what exceeds its limits."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _sent: deque[float] = field(default_factory=lambda: deque(maxlen=PER_HOUR))

    def wait(self) -> None:
        """Sleep until another request is allowed, and count it."""
        while (delay := self._delay()) > 0:
            if delay >= _WORTH_A_MESSAGE:
                announce(f"Mixpanel's limit of queries is reached; the next one follows in {delay:,.0f} s")
            self.sleep(delay)
        self._sent.append(self.clock())

    def _delay(self) -> float:
        windows = ((PER_SECOND, 1.0), (PER_HOUR, _HOUR))
        full = [(self._sent[-most], seconds) for most, seconds in windows if len(self._sent) >= most]
        return max((sent + seconds - self.clock() for sent, seconds in full), default=0.0)
