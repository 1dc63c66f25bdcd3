"""What was told lately, so that a state that lasts is not told at every look."""

from time import monotonic


class Told:
    """Remembers for as long as the process lives: after a restart everything is told again once."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def lately(self, what: str, seconds: float) -> bool:
        """Whether it was told within so many seconds."""
        return what in self._at and monotonic() - self._at[what] < seconds

    def note(self, what: str) -> None:
        """It was told just now."""
        self._at[what] = monotonic()

    def forget(self, what: str) -> None:
        """It is over: when it comes back it is news."""
        self._at.pop(what, None)
