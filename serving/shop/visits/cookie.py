"""Writes a visit into the shop's only cookie, and reads it."""

import json
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from serving.shop.security.signing import opened, sealed
from serving.shop.visits.visit import Visit

COOKIE: Final = "tailorbird_shop"
_MOST_LETTERS: Final = 3_800
"""Browsers drop cookies of more than 4 kB."""
_CONSENT_SECONDS: Final = 180 * 86_400
"""After half a year the shop asks for consent again."""


def known_visit(request: Request, secret: bytes) -> Visit | None:
    """Return the visit in the cookie; None if there is none, or if it is not ours."""
    content = opened(secret, request.cookies.get(COOKIE, ""))
    try:
        return None if content is None else _read(content)
    except (ValueError, TypeError):  # of an earlier version of the shop
        return None


def keep(response: Response, visit: Visit, secret: bytes, *, is_https: bool) -> None:
    """Set the cookie. Before an answer about consent it ends with the browser's session."""
    response.set_cookie(
        COOKIE,
        written(visit, secret),
        max_age=None if visit.agrees is None else _CONSENT_SECONDS,
        httponly=True,
        samesite="lax",
        secure=is_https,
    )


def written(visit: Visit, secret: bytes) -> str:
    """Return the cookie of a visit. If ids are long, the earliest hidden items and lines of the basket are left out."""
    while len(text := sealed(secret, _written(visit))) > _MOST_LETTERS:
        if visit.hidden:
            visit = replace(visit, hidden=visit.hidden[1:])
        elif visit.basket:
            visit = replace(visit, basket=visit.basket[:-1], note="full")
        else:
            break
    return text


def _written(visit: Visit) -> bytes:
    stated = [visit.nonce, visit.agrees, visit.device, visit.household, visit.basket, visit.hidden, visit.note]
    return json.dumps(stated, separators=(",", ":"), ensure_ascii=False).encode()


def _read(content: bytes) -> Visit:
    nonce, agrees, device, household, basket, hidden, note = json.loads(content)
    return Visit(
        nonce, agrees, device, household, tuple((item, number) for item, number in basket), tuple(hidden), note
    )
