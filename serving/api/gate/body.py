"""Reads the body of a request within limits of size and time, before the request counts as active."""

import asyncio
from typing import Final

from starlette.types import Message, Receive

from serving.api.requests.problems import BODY_TOO_SLOW, NOT_JSON, ProblemError, body_too_large

MOST_BYTES: Final = 1_048_576
SECONDS: Final = 10.0
_JSON: Final = (b"application/json", b"application/json;charset=utf-8", b'application/json;charset="utf-8"')


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


def check_type(content_type: bytes, content_encoding: bytes) -> None:
    """Raise ProblemError unless the body is plain JSON."""
    if content_type.replace(b" ", b"").lower() not in _JSON or content_encoding not in (b"", b"identity"):
        raise ProblemError(NOT_JSON)


async def read(receive: Receive, content_length: bytes, most: int = MOST_BYTES) -> bytes:
    """Return the body. Raises ProblemError for one that is too large or too slow, and ClientGoneError."""
    if content_length.isdigit() and (len(content_length) > 9 or int(content_length) > most):
        raise ProblemError(body_too_large(most))
    try:
        async with asyncio.timeout(SECONDS):
            return await _read(receive, most)
    except TimeoutError:
        raise ProblemError(BODY_TOO_SLOW) from None


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise ProblemError(body_too_large(most))
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def replay(body: bytes) -> Receive:
    """Return a `receive` that gives the body once."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
