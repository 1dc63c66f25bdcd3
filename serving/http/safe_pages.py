"""Keeps pages and forms safe: escaped texts, signed cookies, tokens of forms, and headers against foreign content.

The storefront and the page of operators share it. It imports nothing of ours.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
PRIVATE: Final = {"cache-control": "private, no-store"}
STORED: Final = {"cache-control": "max-age=3600"}
"""For style sheets and images, which are the same for everybody."""
FORGED: Final = "The form did not come from this site, or it is too old. Open the page again and repeat."
_MOST_FIELDS: Final = 20
_COOKIE: Final = b"cookie:"
_FORM: Final = b"form:"


def templates(folder: Path) -> "Environment":
    """Return the templates of a folder, which escape every text. Their library is imported with the first ones."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def sealed(secret: bytes, content: bytes) -> str:
    """Return the content with its signature, in letters that a cookie may hold."""
    return f"{urlsafe_b64encode(content).decode()}.{_signature(secret, _COOKIE + content)}"


def opened(secret: bytes, text: str) -> bytes | None:
    """Return the content; None if its signature is missing or wrong."""
    encoded, _, signature = text.rpartition(".")
    try:
        content = urlsafe_b64decode(encoded.encode())
    except (ValueError, binascii.Error):
        return None
    expected = _signature(secret, _COOKIE + content)
    return content if hmac.compare_digest(expected.encode(), signature.encode()) else None


def form_token(secret: bytes, nonce: str) -> str:
    """Return the token of all forms of one browser, which other sites cannot know."""
    return _signature(secret, _FORM + nonce.encode())


def _signature(secret: bytes, content: bytes) -> str:
    return hmac.digest(secret, content, "sha256").hex()


async def read_form(
    request: Request, read: Callable[[], Awaitable[bytes]], secret: bytes, nonce: str
) -> Mapping[str, str]:
    """Return the fields of a form, whose body `read` returns. Raises HTTPException for a form of another site."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This is no form.")
    if not is_own(request):
        raise HTTPException(403, FORGED)
    fields = _fields(await read())
    if not hmac.compare_digest(form_token(secret, nonce).encode(), fields.get("token", "").encode()):
        raise HTTPException(403, FORGED)
    return fields


def is_own(request: Request) -> bool:
    """Return whether the browser states no other site as the origin of a form or a link."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def _fields(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    return dict(reversed(pairs))
