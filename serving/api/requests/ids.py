"""Checks ids of callers, and makes ids of requests."""

import os
import re
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, Field

LONGEST: Final = 256
_REFUSED: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_RULE: Final = f"An id has 1 to {LONGEST} characters, without control characters and line breaks."
_ACCEPTED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RefusedIdError(ValueError):
    """An id is empty, too long, or holds characters that ids must not hold."""


def checked_id(text: str) -> str:
    """Return the id. Raises RefusedIdError, without the id."""
    if not text:
        raise RefusedIdError(f"The id is empty. {_RULE}")
    if len(text) > LONGEST:
        raise RefusedIdError(f"The id has {len(text)} characters. {_RULE}")
    if _REFUSED.search(text):
        raise RefusedIdError(f"The id holds a control character or a line break. {_RULE}")
    return text


def decoded_id(segment: bytes) -> str:
    """Return the id in a segment of a path, decoded once. Raises RefusedIdError."""
    try:
        text = unquote_to_bytes(segment).decode() if b"%" in segment else segment.decode()
    except UnicodeDecodeError:
        raise RefusedIdError(f"The id is not UTF-8. {_RULE}") from None
    return checked_id(text)


Id = Annotated[
    str,
    AfterValidator(checked_id),
    Field(min_length=1, max_length=LONGEST, description=_RULE),
]
"""An id in a body."""


def request_id(given: bytes) -> str:
    """Return the caller's own id if it is harmless, else a new one."""
    return given.decode() if given and _ACCEPTED.fullmatch(given) else os.urandom(8).hex()


def recommendation_id() -> str:
    """Return a new id of 128 random bits."""
    return os.urandom(16).hex()
