"""Lets pages of configured origins call the API from a browser. No origin is allowed by default."""

from collections.abc import Collection
from typing import Final

from serving.api.gate.call import Reply
from serving.api.gate.head import Head

_METHODS: Final = b"GET, POST, PUT, PATCH"
_HEADERS: Final = b"authorization, cache-control, content-type, idempotency-key, x-api-key, x-request-id, x-retry-count"
_EXPOSED: Final = b"link, ratelimit, ratelimit-policy, retry-after, x-request-id"


def is_preflight(head: Head, origins: Collection[bytes]) -> bool:
    """Return whether a browser asks if an allowed page may send a request."""
    return head.origin in origins and bool(head.requested_method)


def preflight(head: Head, origins: Collection[bytes]) -> Reply:
    """Return the answer to a browser, without a body. `headers` adds the origin."""
    more = (
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _HEADERS),
        (b"access-control-max-age", b"600"),
    )
    return Reply(b"", 204, b"text/plain", more if is_preflight(head, origins) else ())


def headers(head: Head, origins: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of an allowed origin read an answer."""
    if head.origin not in origins:
        return [(b"vary", b"origin")]
    return [
        (b"access-control-allow-origin", head.origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]
