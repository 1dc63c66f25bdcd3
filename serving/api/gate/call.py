"""Defines what an endpoint receives from the gate, and what it returns."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from infra.keys.api_keys import ApiKey, Scope
    from serving.api.gate.keyring import TokenBucket
    from serving.api.gate.reading import Head
    from serving.api.state import State

JSON: Final = b"application/json"
HTML: Final = b"text/html; charset=utf-8"
CALL: Final = "tailorbird.call"
"""The entry of an ASGI scope that holds the call."""
Headers = tuple[tuple[bytes, bytes], ...]


class Incoming(NamedTuple):
    """A request whose key its endpoint finds, such as in the body."""

    head: "Head"
    read: Callable[[int], Awaitable[bytes]]
    """Returns the body, of so many bytes at most. Raises ProblemError and ClientGoneError as `read_body`."""
    scheme: str
    admit: Callable[[bytes, "Scope"], Awaitable["ApiKey"]]
    """Returns the key of an Authorization header, if it has the scope. Raises ProblemError."""
    bucket: Callable[[], "TokenBucket | None"]
    """Returns what the admitted key may still send."""


class Call(NamedTuple):
    """A checked request."""

    state: "State"
    value: str
    """The decoded variable of the path; empty without one."""
    query: bytes
    request_id: str
    bucket: "TokenBucket | None" = None
    """What the key may still send; None for paths without a key."""
    incoming: Incoming | None = None
    """None if the gate has checked the key."""
    key: "ApiKey | None" = None
    """The key that the gate has checked."""


class Reply(NamedTuple):
    """An answer before the headers that all answers have."""

    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: Headers = ()


Handler = Callable[[Call], Awaitable[Reply]]
"""A hot endpoint, which the gate calls directly."""


def call_of(request: Request) -> Call:
    """Return the call that the gate put into the scope."""
    call: Call = request.scope[CALL]
    return call


def response(reply: Reply) -> Response:
    """Return a reply as FastAPI sends it."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, reply.media_type.decode())
