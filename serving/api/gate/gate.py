"""Is the outermost ASGI layer: checks key, scope, limits and ids, calls the endpoint, counts, logs and adds headers."""

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.keys.api_keys import ApiKey
from infra.keys.api_keys import Scope as KeyScope
from serving.api.gate import routes
from serving.api.gate.keyring import TokenBucket
from serving.api.gate.routes import ClientGoneError, Head, Operation, RouteTable
from serving.api.requests import problems
from serving.api.requests.problems import Fault, Problem, ProblemError, RefusedRequestError
from serving.api.requests.values import decoded_id, request_id
from serving.api.state import CALL, Call, Headers, Incoming, Reply
from serving.http import IS_LAST, metrics

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from serving.api.state import State

_LONGEST_PATH, _LONGEST_QUERY, _LARGEST_HEAD = 4096, 32_768, 32_768
_UNKNOWN: Final = "unknown"
_BODIES: Final = 4
"""Bodies of calls that may be read at the same time, for each request that may be answered: their memory is bounded."""
_NO_CONTENT: Final = 204
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBLEM: Final = problems.MEDIA_TYPE.encode()
_SAFE: Final[Headers] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(slots=True)
class _Request:
    """What is known of a request so far, for its metrics, its log and its headers."""

    request_id: str
    address: str
    template: str = _UNKNOWN
    bucket: TokenBucket | None = None
    key: ApiKey | None = None


class Gate:
    """Answers requests with the endpoints of an application."""

    def __init__(self, app: ASGIApp, table: RouteTable, state: "State", tracer: "Tracer | None" = None) -> None:
        self._app, self._table, self._state, self._tracer = app, table, state, tracer
        self._active = 0
        self._reading = 0
        """Bodies of calls that are being read."""
        self._observers: dict[tuple[str, str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; pass the messages of the process's life on."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tracer is None:
            await self._answer_untraced(scope, receive, send)
            return
        with self._tracer.start_as_current_span("request") as span:
            request, status = await self._answer_untraced(scope, receive, send)
            method = _known_method(scope["method"])
            span.update_name(f"{method} {request.template}")
            span.set_attributes(
                {
                    "http.request.method": method,
                    "http.route": request.template,
                    "http.response.status_code": status,
                    "tailorbird.request_id": request.request_id,
                }
            )

    async def _answer_untraced(self, scope: Scope, receive: Receive, send: Send) -> tuple["_Request", int]:
        """Answer a request; return what is known of it, and the status (0 if the client has gone)."""
        began = perf_counter()
        head = routes.read_head(scope["headers"])
        request = _Request(request_id(head.request_id), (scope.get("client") or ("",))[0])
        try:
            reply = await self._reply(scope, receive, head, request)
        except ProblemError as error:
            reply = _refusal(error.problem, request)
        except ClientGoneError:
            return request, 0
        except Exception as error:
            self._state.log.defect(request.request_id, request.template, error)
            reply = _refusal(problems.INTERNAL, request)
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": self._headers(scope, reply, request, head),
            }
        )
        await send({"type": "http.response.body", "body": reply.body})
        self._count(scope["method"], reply.status, perf_counter() - began, request)
        return request, reply.status

    async def _reply(self, scope: Scope, receive: Receive, head: Head, request: _Request) -> Reply:
        operation, segment = await self._operation(scope, head, request)
        if operation is None:
            return routes.preflight(head, self._state.origins)
        if operation.scope is not None:
            _check_scope(await self._find_key(head.authorization, head.api_key, request), operation.scope)
        value = "" if segment is None else _decoded(segment)
        method, content = scope["method"], b""
        if method in ("POST", "PUT", "PATCH") and not operation.is_incoming:
            routes.check_type(head.content_type, head.content_encoding)
            content = await routes.read_body(receive, head.content_length)
        if (operation.scope is not None or operation.is_incoming) and self._active >= self._state.most_active:
            raise _shed()
        self._active += 1
        try:
            incoming = self._incoming(scope, receive, head, request) if operation.is_incoming else None
            about = request.request_id, request.bucket, incoming, request.key
            call = Call(self._state, value, scope["query_string"], *about)
            if operation.handler is not None:
                return await operation.handler(call)
            return await self._from_app(scope, operation, call, content)
        finally:
            self._active -= 1

    async def _operation(self, scope: Scope, head: Head, request: _Request) -> tuple[Operation | None, bytes | None]:
        """Return the operation, and the encoded variable of the path; no operation for a preflight of a browser."""
        raw_path: bytes = scope.get("raw_path") or self._table.encoded(scope["path"], scope["method"])
        if len(raw_path) > _LONGEST_PATH or len(scope["query_string"]) > _LONGEST_QUERY:
            raise ProblemError(problems.PATH_TOO_LONG)
        if head.size > _LARGEST_HEAD:
            raise ProblemError(problems.HEADERS_TOO_LARGE)
        match = self._table.match(raw_path)
        if match is None:
            if other := problems.OTHER_LIBRARIES.get(raw_path.rstrip(b"/")):
                raise ProblemError(other)
            await self._find_key(head.authorization, head.api_key, request)
            raise ProblemError(problems.NO_ROUTE)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        operation = match.operations.get(method)
        request.template = next(iter(match.operations.values())).template
        if operation is None:
            if method == "OPTIONS" and routes.is_preflight(head, self._state.origins):
                return None, None
            await self._find_key(head.authorization, head.api_key, request)
            raise ProblemError(problems.wrong_method(sorted(match.operations)))
        return operation, match.segment

    def _incoming(self, scope: Scope, receive: Receive, head: Head, request: _Request) -> Incoming:
        async def read(most: int) -> bytes:
            if self._reading >= _BODIES * self._state.most_active:
                raise _shed()
            self._active -= 1  # senders without a key that are slow would take the places of all others
            self._reading += 1
            try:
                body = await routes.read_body(receive, head.content_length, most)
            finally:
                self._reading -= 1
                self._active += 1
            if self._active > self._state.most_active:
                raise _shed()
            return body

        async def admit(authorization: bytes, needed: KeyScope) -> ApiKey:
            key = await self._find_key(authorization, b"", request)
            _check_scope(key, needed)
            return key

        return Incoming(head, read, scope["scheme"], admit, lambda: request.bucket)

    async def _find_key(self, authorization: bytes, api_key: bytes, request: _Request) -> ApiKey:
        """Return the key of a request. Raises ProblemError without a valid one, or if it may not send more now."""
        keyring = self._state.keyring
        found = keyring.find(authorization, api_key, request.address)
        if found is None and (authorization or api_key):
            await keyring.read_newer()  # the key may be new
            found = keyring.find(authorization, api_key, request.address)
        if found is None:
            if not keyring.is_loaded:
                raise ProblemError(problems.KEYS_UNKNOWN)
            metrics.REFUSED_KEYS.labels("key").inc()
            raise ProblemError(problems.NO_KEY)
        request.key, request.bucket = key, bucket = found
        if not bucket.take():
            metrics.SHED.labels("rate").inc()
            raise ProblemError(problems.rate_exceeded(bucket.seconds_left()))
        return key

    async def _from_app(self, scope: Scope, operation: Operation, call: Call, content: bytes) -> Reply:
        """Return the answer of FastAPI, which sees the path without its id."""
        inner = {**scope, "path": operation.path, "raw_path": operation.path.encode(), CALL: call}
        started: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                parts.append(message.get("body", b""))

        await self._app(inner, routes.replay(content), collect)
        given: list[tuple[bytes, bytes]] = list(started["headers"])
        media_type = next((text for name, text in given if name == b"content-type"), b"")
        more = tuple(pair for pair in given if pair[0] not in (b"content-type", b"content-length"))
        return Reply(b"".join(parts), started["status"], media_type, more)

    def _headers(self, scope: Scope, reply: Reply, request: _Request, head: Head) -> list[tuple[bytes, bytes]]:
        safe = _SAFE if not reply.headers else _missing(_SAFE, reply.headers)
        headers = [(b"x-request-id", request.request_id.encode()), *safe, *reply.headers]
        if reply.status != _NO_CONTENT:
            headers += [(b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body))]
        if request.bucket is not None:
            headers.append((b"ratelimit-policy", request.bucket.policy))
            headers.append((b"ratelimit", request.bucket.header()))
        if self._state.origins and head.origin:
            headers += routes.cors_headers(head, self._state.origins)
        # Without the mark, the server reads one request of a connection at a time.
        if self._state.is_stopping and (IS_LAST not in scope or scope[IS_LAST](scope)):
            headers.append((b"connection", b"close"))
        return headers

    def _count(self, method: str, status: int, seconds: float, request: _Request) -> None:
        place = request.template, _known_method(method), status // 100
        observer = self._observers.get(place)
        if observer is None:
            labels = place[0], place[1], f"{place[2]}xx"
            observer = self._observers[place] = metrics.REQUEST_SECONDS.labels(*labels)
        observer.observe(seconds)
        if self._state.log.wants(status, seconds):
            self._state.log.request(
                request_id=request.request_id,
                method=place[1],
                route=request.template,
                status=status,
                ms=round(seconds * 1000, 2),
                key_id="" if request.key is None else request.key.key_id,
            )


def _missing(headers: Headers, given: Headers) -> Headers:
    """Return the headers that an answer does not state by itself, as pages do."""
    names = {name for name, _ in given}
    return tuple(pair for pair in headers if pair[0] not in names)


def _shed() -> ProblemError:
    """Count a request that is refused to protect the server, and return its problem."""
    metrics.SHED.labels("overload").inc()
    return ProblemError(problems.OVERLOADED)


def _check_scope(key: ApiKey, needed: KeyScope) -> None:
    if needed not in key.scopes:
        metrics.REFUSED_KEYS.labels("scope").inc()
        raise ProblemError(problems.scope_missing(needed))


def _known_method(method: str) -> str:
    """Return the method as a label; callers may send any word."""
    return method if method in _METHODS else _UNKNOWN


def _decoded(segment: bytes) -> str:
    try:
        return decoded_id(segment)
    except ValueError as error:
        raise RefusedRequestError([Fault("path", str(error))]) from None


def _refusal(problem: Problem, request: _Request) -> Reply:
    headers = tuple((name.encode(), value.encode()) for name, value in problem.headers.items())
    return Reply(problem.body(request.request_id), problem.status, _PROBLEM, headers)
