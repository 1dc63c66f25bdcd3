"""Reads requests within limits, and finds their endpoints.

Endpoints are found by encoded segments of the path, so that an id may hold `/` as `%2F`.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from infra.keys.api_keys import Scope
from serving.api.requests.problems import BODY_TOO_SLOW, NOT_JSON, ProblemError, body_too_large
from serving.api.requests.values import LONGEST, Parameter
from serving.api.state import Handler, Reply, call_of, response

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


SCOPE: Final = "x-scope"
"""The entry of an operation in the OpenAPI document with the scope that a key needs."""
OPEN: Final = "none"
"""The scope of paths that need no key."""
INCOMING: Final = "own"
"""The scope of paths whose endpoints check the key themselves."""
HANDLER: Final = "tailorbird_handler"
_PLACE: Final = b"{}"
"""Takes the place of the id in the parts of a path."""
_VARIABLE: Final = b"-"
"""Takes the place of the id in the path that FastAPI routes."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    template: str
    method: str
    scope: Scope | None
    """None: the gate checks no key."""
    is_incoming: bool
    """Whether the endpoint reads the key and the body itself."""
    handler: Handler | None
    """None: FastAPI calls the endpoint."""
    path: str
    """The path with a placeholder, as FastAPI routes it."""
    has_variable: bool


class Match(NamedTuple):
    """The operations of a path, and the encoded variable of the path."""

    operations: Mapping[str, Operation]
    segment: bytes | None


class RouteTable:
    """Knows all paths of the application. Each has at most one variable, in its third or fourth segment."""

    def __init__(self, routes: Iterable[Any]) -> None:
        self._fixed: dict[bytes, dict[str, Operation]] = {}
        self._variable: dict[tuple[bytes, ...], dict[str, Operation]] = {}
        self.operations = [found for route in routes if isinstance(route, APIRoute) for found in _operations(route)]
        for operation in self.operations:
            if operation.has_variable:
                parts = (_PLACE if part[:1] == b"{" else part for part in operation.template.encode().split(b"/"))
                self._variable.setdefault(tuple(parts), {})[operation.method] = operation
            else:
                self._fixed.setdefault(operation.template.encode(), {})[operation.method] = operation

    def match(self, raw_path: bytes) -> Match | None:
        """Return the operations of a path; None for an unknown one."""
        parts = raw_path.split(b"/")
        for place in range(3, min(5, len(parts))):
            found = self._variable.get((*parts[:place], _PLACE, *parts[place + 1 :]))
            if found is not None:
                return Match(found, parts[place])
        fixed = self._fixed.get(raw_path)
        return None if fixed is None else Match(fixed, None)

    def encoded(self, path: str, method: str) -> bytes:
        """Return the encoded form of a path that a gateway has decoded: all between the fixed parts is the id.

        Of several readings, that with the method counts, then that with the longer end.
        """
        wanted = "GET" if method == "HEAD" else method
        for operation in sorted(self.operations, key=lambda one: (one.method != wanted, -len(one.template))):
            before, brace, rest = operation.template.partition("{")
            after = rest.partition("}")[2]
            segment = path.removeprefix(before).removesuffix(after)
            if brace and path == before + segment + after:
                return f"{before}{quote(segment, safe='', errors='surrogatepass')}{after}".encode()
        return path.encode(errors="surrogatepass")


def _operations(route: APIRoute) -> Iterable[Operation]:
    scope = (route.openapi_extra or {}).get(SCOPE, "read")
    for method in sorted(route.methods or ()):
        before, brace, rest = route.path.partition("{")
        path = before + _VARIABLE.decode() + rest.partition("}")[2] if brace else route.path
        handler = getattr(route.endpoint, HANDLER, None)
        checked = None if scope in (OPEN, INCOMING) else scope
        yield Operation(route.path, method, checked, scope == INCOMING, handler, path, bool(brace))


def add_hot_route(
    router: APIRouter,
    path: str,
    handler: Handler,
    parameters: Sequence[Parameter],
    model: type[Any] | None,
    scope: str = "read",
    method: str = "GET",
    **documentation: Any,
) -> None:
    """Register an endpoint; its documentation is the docstring of the handler, the parameters and the model."""

    async def endpoint(request: Request) -> Response:
        return response(await handler(call_of(request)))

    setattr(endpoint, HANDLER, handler)
    described = [*path_parameters(path), *(parameter.documented() for parameter in parameters)]
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        response_model=model,
        name=handler.__name__,
        summary=(handler.__doc__ or "").partition("\n")[0].rstrip("."),
        description=handler.__doc__,
        openapi_extra={"parameters": described, SCOPE: scope},
        **documentation,
    )


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Return the variable of a path as OpenAPI describes it."""
    name = path.partition("{")[2].partition("}")[0]
    if not name:
        return []
    examples = {"user": "1", "item": "995242", "placement": "home", "key": "tb_0f8fad5bd9cb", "number": "1"}
    described = {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"The {name}, by the id that your systems use. Encode `/` as `%2F`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
        "example": examples[name],
    }
    return [described]
