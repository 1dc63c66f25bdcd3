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
    """Items beyond `k` that it asks for: those with a title that the page has already are left out."""
    about: Literal["visitor", "everybody"] = "visitor"
    """Paths for everybody take no user."""
    general: str | None = None
    """The title of an answer that is not personal: empty leaves it out, and None is the same title."""

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """Return what answers for everybody depend on."""
        return self.path, self.context
