"""The state of one visitor. A browser keeps it in a signed cookie, and the shop keeps nothing."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

MOST_LINES: Final = 20
MOST_OF_ONE: Final = 99
MOST_HIDDEN: Final = 30
LONGEST_ID: Final = 256
Note = Literal[
    "",
    "added",
    "full",
    "removed",
    "bought",
    "hidden",
    "hidden-here",
    "agreed",
    "refused",
    "refused-here",
    "signed-in",
    "signed-out",
]


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor without a name, or a household that signed in."""

    nonce: str
    """Protects the forms of this browser. It ends with the browser's session, and no other system gets it."""
    agrees: bool | None = None
    """The answer about personal shelves; None before it."""
    device: str | None = None
    """A random id of this browser, which exists only with consent."""
    household: str | None = None
    basket: tuple[tuple[str, int], ...] = ()
    """Items and their numbers."""
    hidden: tuple[str, ...] = ()
    """Items that the visitor does not want to see, the latest last."""
    note: Note = ""
    """A message for the next page."""

    @classmethod
    def new(cls) -> "Visit":
        """Return the visit of an unknown browser."""
        return cls(secrets.token_urlsafe(16))

    @property
    def is_personal(self) -> bool:
        """Return whether shelves and events may depend on the visitor."""
        return self.agrees is True

    @property
    def items(self) -> tuple[str, ...]:
        """Return the items of the basket."""
        return tuple(item for item, _ in self.basket)

    @property
    def count(self) -> int:
        """Return the number of pieces in the basket."""
        return sum(number for _, number in self.basket)

    def agreeing(self) -> "Visit":
        """Return the visit after a yes: from now on the browser has an id."""
        return replace(self, agrees=True, device=self.device or secrets.token_urlsafe(16), note="agreed")

    def refusing(self) -> "Visit":
        """Return the visit after a no, or a withdrawal: the id of the browser is gone."""
        return replace(self, agrees=False, device=None, note="refused")

    def signed_in(self, household: str) -> "Visit":
        """Return the visit of a household."""
        return replace(self, nonce=secrets.token_urlsafe(16), household=household, note="signed-in")

    def signed_out(self) -> "Visit":
        """Return a visit without basket and hidden items, with another id: the next person may be somebody else."""
        fresh = replace(Visit.new(), agrees=self.agrees, note="signed-out")
        return replace(fresh, device=secrets.token_urlsafe(16)) if self.is_personal else fresh

    def added(self, items: Iterable[str]) -> "Visit":
        """Return the visit with one more of each item; the basket holds a limited number of lines."""
        lines = dict(self.basket)
        note: Note = "added"
        for item in items:
            if item in lines or len(lines) < MOST_LINES:
                lines[item] = min(MOST_OF_ONE, lines.get(item, 0) + 1)
            else:
                note = "full"
        return replace(self, basket=tuple(lines.items()), note=note)

    def removed(self, item: str) -> "Visit":
        """Return the visit without an item in the basket."""
        return replace(self, basket=tuple(line for line in self.basket if line[0] != item), note="removed")

    def bought(self) -> "Visit":
        """Return the visit with an empty basket."""
        return replace(self, basket=(), note="bought")

    def hiding(self, item: str, note: Note) -> "Visit":
        """Return the visit with one more hidden item; the earliest are forgotten first."""
        others = tuple(one for one in self.hidden if one != item)
        return replace(self, hidden=(*others, item)[-MOST_HIDDEN:], note=note)


def is_id(text: str) -> bool:
    """Return whether a text can be the id of an item or of a household."""
    return 0 < len(text) <= LONGEST_ID and text.isprintable()
