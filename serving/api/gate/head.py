"""Reads the headers of a request in one pass, and lets pages of configured origins call the API from a browser."""

from collections.abc import Collection, Iterable
from typing import Final

from serving.api.gate.call import Reply

_METHODS: Final = b"GET, POST, PUT, PATCH"
_HEADERS: Final = b"authorization, cache-control, content-type, idempotency-key, x-api-key, x-request-id, x-retry-count"
_EXPOSED: Final = b"link, ratelimit, ratelimit-policy, retry-after, x-request-id"


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
