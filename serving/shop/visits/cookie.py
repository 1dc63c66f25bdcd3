"""Writes a visit into the shop's cookie, and reads it. The message for the next page has a cookie of its own.

Pages that are only read do not write the visit: a slow one would undo what another tab changed meanwhile.
"""

import json
from dataclasses import replace
from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import Response

from serving.http.safe_pages import opened, sealed
from serving.shop.visits.visit import CONSENT_SECONDS, Line, Note, Visit

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
        sealed(secret, _written(kept)),
        max_age=None if visit.agrees is None else CONSENT_SECONDS,
        httponly=True,
        samesite="lax",
        secure=is_https,
    )
    if kept.note:
        response.set_cookie(
            NOTE_COOKIE, kept.note, max_age=_NOTE_SECONDS, httponly=True, samesite="lax", secure=is_https
        )


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
    stated = [visit.nonce, answer, visit.device, visit.household, visit.basket, visit.hidden]
    return json.dumps(stated, separators=(",", ":"), ensure_ascii=False).encode()


def _read(content: bytes) -> Visit:
    nonce, (agrees, answered_at), device, household, basket, hidden = json.loads(content)
    lines = tuple(Line(*line) for line in basket)
    return Visit(nonce, agrees, answered_at, device, household, lines, tuple(hidden))
