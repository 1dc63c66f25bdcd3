"""The state of one visitor. A browser keeps it in a signed cookie, and the shop keeps nothing.

The message for the next page has a cookie of its own. Pages that are only read do not write the visit: a slow one would
undo what another tab changed meanwhile.
"""

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

from starlette.requests import Request
from starlette.responses import Response

from serving.http.safe_pages import opened, sealed

MOST_LINES: Final = 20
MOST_OF_ONE: Final = 99
MOST_HIDDEN: Final = 30
LONGEST_ID: Final = 256
CONSENT_SECONDS: Final = 180 * 86_400
"""After half a year the shop asks for consent again."""
_NO_LISTS: Final[Mapping[str, str]] = MappingProxyType({})
Note = Literal[
    "",
    "added",
    "full",
    "removed",
    "changed",
    "bought",
    "hidden",
    "hidden-here",
    "agreed",
    "refused",
    "refused-here",
    "signed-in",
    "signed-out",
    "copy",
]


class Line(NamedTuple):
    """One product of the basket."""

    item: str
    number: int
    recommendation_id: str = ""
    """The list that it was added from; empty without one, and without consent."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor without a name, or a household that signed in."""

    nonce: str
    """Protects the forms of this browser until a sign-in or sign-out. No other system gets it."""
    agrees: bool | None = None
    """The answer about personal shelves; None before it."""
    answered_at: int = 0
    """When that was, in epoch seconds."""
    device: str | None = None
    """A random id of this browser, which exists only with consent."""
    household: str | None = None
    basket: tuple[Line, ...] = ()
    hidden: tuple[str, ...] = ()
    """Items that the visitor does not want to see, the latest last."""
    copy: int | None = None
    """The number of the request for a copy of the household's data."""
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
    def is_due(self) -> bool:
        """Return whether the answer is so old that the shop asks again."""
        return self.agrees is not None and self.answered_at + CONSENT_SECONDS <= time.time()

    @property
    def items(self) -> tuple[str, ...]:
        """Return the items of the basket."""
        return tuple(line.item for line in self.basket)

    @property
    def count(self) -> int:
        """Return the number of pieces in the basket."""
        return sum(line.number for line in self.basket)

    def agreeing(self) -> "Visit":
        """Return the visit after a yes: from now on the browser has an id."""
        device = self.device or secrets.token_urlsafe(16)
        return replace(self, agrees=True, answered_at=int(time.time()), device=device, note="agreed")

    def refusing(self) -> "Visit":
        """Return the visit after a no, or a withdrawal: the id of the browser and the lists of products are gone."""
        basket = tuple(line._replace(recommendation_id="") for line in self.basket)
        return replace(self, agrees=False, answered_at=int(time.time()), device=None, basket=basket, note="refused")

    def unanswered(self) -> "Visit":
        """Return the visit with the question about personal shelves open again."""
        return replace(self.refusing(), agrees=None, answered_at=0, note=self.note)

    def signed_in(self, household: str) -> "Visit":
        """Return the visit of a household. It gets nothing of another household that did not sign out."""
        before = self if self.household in (None, household) else self.signed_out()
        return replace(before, nonce=secrets.token_urlsafe(16), household=household, note="signed-in")

    def signed_out(self) -> "Visit":
        """Return a visit that keeps nothing, not even the answer: the next person may be somebody else."""
        return replace(Visit.new(), note="signed-out")

    def added(self, items: Iterable[str], lists: Mapping[str, str] = _NO_LISTS) -> "Visit":
        """Return the visit with one more of each item; the basket holds a limited number of lines.

        `lists` are the recommendation ids by item. With consent the basket remembers the latest of each item.
        """
        lines = {line.item: line for line in self.basket}
        note: Note = "added"
        for item in items:
            if item in lines or len(lines) < MOST_LINES:
                line = lines.get(item, Line(item, 0))
                shown = lists.get(item, "") if self.is_personal else ""
                lines[item] = Line(item, min(MOST_OF_ONE, line.number + 1), shown or line.recommendation_id)
            else:
                note = "full"
        return replace(self, basket=tuple(lines.values()), note=note)

    def changed(self, item: str, number: int) -> "Visit":
        """Return the visit with so many of an item of the basket; with 0, without it."""
        lines = (line._replace(number=number) if line.item == item else line for line in self.basket)
        basket = tuple(line for line in lines if line.number)
        return replace(self, basket=basket, note="changed" if number else "removed")

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


COOKIE: Final = "tailorbird_shop"
NOTE_COOKIE: Final = "tailorbird_note"
_MOST_LETTERS: Final = 3_800
"""Browsers drop cookies of more than 4 kB."""
_NOTE_SECONDS: Final = 60


def known_visit(request: Request, secret: bytes) -> Visit | None:
    """Return the visit in the cookie; None if there is none, or if it is not ours."""
    content = opened(secret, request.cookies.get(COOKIE, ""))
    try:
        visit = None if content is None else _read(content)
    except (ValueError, TypeError):  # of an earlier version of the shop
        return None
    if visit is None:
        return None
    notes: tuple[Note, ...] = get_args(Note)
    note: Note = next((one for one in notes if one == request.cookies.get(NOTE_COOKIE)), "")
    visit = replace(visit, note=note)
    return visit.unanswered() if visit.is_due else visit


def keep(response: Response, visit: Visit, secret: bytes, *, is_https: bool) -> None:
    """Set the cookie. Before an answer about consent it ends with the browser's session."""
    kept = _shortened(visit, secret)
    response.set_cookie(
        COOKIE,
        written(kept, secret),
        max_age=None if visit.agrees is None else CONSENT_SECONDS,
        httponly=True,
        samesite="lax",
        secure=is_https,
    )
    if kept.note:
        response.set_cookie(
            NOTE_COOKIE, kept.note, max_age=_NOTE_SECONDS, httponly=True, samesite="lax", secure=is_https
        )


def forget(response: Response) -> None:
    """Remove all that the browser keeps."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    forget_note(response)


def forget_note(response: Response) -> None:
    """Remove the message, which a page has shown."""
    response.delete_cookie(NOTE_COOKIE, httponly=True, samesite="lax")


def written(visit: Visit, secret: bytes) -> str:
    """Return the cookie of a visit. If ids are long, it is shortened."""
    return sealed(secret, _written(_shortened(visit, secret)))


def _shortened(visit: Visit, secret: bytes) -> Visit:
    """Leave out the lists of products, the earliest hidden items, and the last lines of the basket, in this order."""
    while len(sealed(secret, _written(visit))) > _MOST_LETTERS:
        if any(line.recommendation_id for line in visit.basket):
            visit = replace(visit, basket=tuple(line._replace(recommendation_id="") for line in visit.basket))
        elif visit.hidden:
            visit = replace(visit, hidden=visit.hidden[1:])
        elif visit.basket:
            visit = replace(visit, basket=visit.basket[:-1], note="full")
        else:
            break
    return visit


def _written(visit: Visit) -> bytes:
    answer = visit.agrees, visit.answered_at
    stated = [visit.nonce, answer, visit.device, visit.household, visit.basket, visit.hidden, visit.copy]
    return json.dumps(stated, separators=(",", ":"), ensure_ascii=False).encode()


def _read(content: bytes) -> Visit:
    nonce, (agrees, answered_at), device, household, basket, hidden, copy = json.loads(content)
    lines = tuple(Line(*line) for line in basket)
    return Visit(nonce, agrees, answered_at, device, household, lines, tuple(hidden), copy)
