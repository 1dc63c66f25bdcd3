"""Reads heads and bodies of requests within limits, and lets pages of configured origins call the API."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

from starlette.types import Message, Receive

from serving.api.gate.call import Reply
from serving.api.requests.problems import BODY_TOO_SLOW, NOT_JSON, ProblemError, body_too_large

_METHODS: Final = b"GET, POST, PUT, PATCH"
_HEADERS: Final = b"authorization, cache-control, content-type, idempotency-key, x-api-key, x-request-id, x-retry-count"
_EXPOSED: Final = b"link, ratelimit, ratelimit-policy, retry-after, x-request-id"
MOST_BYTES: Final = 1_048_576
BODY_SECONDS: Final = 10.0
_JSON: Final = (b"application/json", b"application/json;charset=utf-8", b'application/json;charset="utf-8"')


class Head:
    """The headers that the gate uses; empty if they are missing."""

    api_key = authorization = content_encoding = content_length = content_type = b""
    host = origin = request_id = requested_method = b""
    size = 0
    """The bytes of all names and values."""


_FIELDS = {
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"x-request-id": "request_id",
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
    b"host": "host",
    b"origin": "origin",
    b"access-control-request-method": "requested_method",
}


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Return the headers; ASGI gives their names in lower case."""
    head, size = Head(), 0
    for name, value in headers:
        size += len(name) + len(value)
        field = _FIELDS.get(name)
        if field is not None:
            setattr(head, field, value)
    head.size = size
    return head


def is_preflight(head: Head, origins: Collection[bytes]) -> bool:
    """Return whether a browser asks if an allowed page may send a request."""
    return head.origin in origins and bool(head.requested_method)


def preflight(head: Head, origins: Collection[bytes]) -> Reply:
    """Return the answer to a browser, without a body. `cors_headers` adds the origin."""
    more = (
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _HEADERS),
        (b"access-control-max-age", b"600"),
    )
    return Reply(b"", 204, b"text/plain", more if is_preflight(head, origins) else ())


def cors_headers(head: Head, origins: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of an allowed origin read an answer."""
    if head.origin not in origins:
        return [(b"vary", b"origin")]
    return [
        (b"access-control-allow-origin", head.origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


def check_type(content_type: bytes, content_encoding: bytes) -> None:
    """Raise ProblemError unless the body is plain JSON."""
    if content_type.replace(b" ", b"").lower() not in _JSON or content_encoding not in (b"", b"identity"):
        raise ProblemError(NOT_JSON)


async def read_body(receive: Receive, content_length: bytes, most: int = MOST_BYTES) -> bytes:
    """Return the body. Raises ProblemError for one that is too large or too slow, and ClientGoneError."""
    if content_length.isdigit() and (len(content_length) > 9 or int(content_length) > most):
        raise ProblemError(body_too_large(most))
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_parts(receive, most)
    except TimeoutError:
        raise ProblemError(BODY_TOO_SLOW) from None


async def _read_parts(receive: Receive, most: int) -> bytes:
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
