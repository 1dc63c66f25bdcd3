"""The shelves that pages ask for."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Wanted:
    """One shelf of a page: the path of the API, and what the shelf is called."""

    title: str
    path: str
    context: tuple[str, ...] = ()
    """The items that it is about."""
    k: int = 10
    spare: int = 0
    """Items beyond `k` that it asks for, because those with the title of an earlier one are left out; 0 shows all."""
    about: Literal["visitor", "everybody"] = "visitor"
    """Paths for everybody take no user."""

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Return what answers for everybody depend on."""
        return self.path, self.context
