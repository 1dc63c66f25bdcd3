"""Signs what browsers keep for the shop."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

_COOKIE: Final = b"cookie:"
_FORM: Final = b"form:"


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


def is_form_token(secret: bytes, nonce: str, given: str) -> bool:
    """Return whether a form holds the token of the browser."""
    return hmac.compare_digest(form_token(secret, nonce).encode(), given.encode())


def _signature(secret: bytes, content: bytes) -> str:
    return hmac.digest(secret, content, "sha256").hex()
