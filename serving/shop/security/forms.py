"""Reads forms: small ones, from our own pages, with the browser's token."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.shop.security.signing import is_form_token

_MOST_BYTES: Final = 16_384
_MOST_FIELDS: Final = 20
_TYPE: Final = "application/x-www-form-urlencoded"
TOKEN: Final = "token"  # noqa: S105 -- the name of a field
FORGED: Final = "The form did not come from this shop, or it is too old. Open the page again and repeat."


async def read_form(request: Request, secret: bytes, nonce: str, most_bytes: int = _MOST_BYTES) -> Mapping[str, str]:
    """Return the fields of a form. Raises HTTPException for a form that is foreign or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise HTTPException(415, "This is no form.")
    if not is_own(request):
        raise HTTPException(403, FORGED)
    fields = _fields(await _body(request, most_bytes))
    if not is_form_token(secret, nonce, fields.get(TOKEN, "")):
        raise HTTPException(403, FORGED)
    return fields


def is_own(request: Request) -> bool:
    """Return whether the browser states no other site as the origin of a form or a link."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


async def _body(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise HTTPException(413, "The form is too large.")
    return bytes(body)


def _fields(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return dict(reversed(pairs))
