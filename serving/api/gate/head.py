"""Reads the headers of a request in one pass."""

from collections.abc import Iterable


class Head:
    """The headers that the gate uses; empty if they are missing."""

    __slots__ = (
        "api_key",
        "authorization",
        "content_encoding",
        "content_length",
        "content_type",
        "host",
        "origin",
        "request_id",
        "requested_method",
        "size",
    )

    def __init__(self) -> None:
        self.api_key = self.authorization = self.content_encoding = self.content_length = b""
        self.content_type = self.host = self.origin = self.request_id = self.requested_method = b""
        self.size = 0
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
