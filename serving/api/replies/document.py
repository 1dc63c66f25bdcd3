"""The models of answers, and the OpenAPI document that describes them."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from infra.configuration.version import package_version
from serving.answers.protocol import Source
from serving.api.gate.routes import MOST_BYTES, OPEN, SCOPE
from serving.api.requests import problems
from serving.api.requests.problems import MEDIA_TYPE, Fault, Problem

_ITEM: Final[dict[str, JsonValue]] = {
    "item_id": "995242",
    "rank": 1,
    "score": 0.9055,
    "reason": "You bought this on 22 days, about every 17 days, last on 29 December",
    "title": "Fluid milk white only",
    "url": "https://shop.example/995242",
    "image": "https://shop.example/995242.jpg",
    "price": 2.5,
    "currency": "USD",
}
_LIST: Final[dict[str, JsonValue]] = {
    "recommendation_id": "0f8fad5bd9cb469fa16570867728950e",
    "placement": "home",
    "model_version": 3,
    "batch_id": 12,
    "source": "table",
    "degraded": False,
    "next": "/v1/users/1/recommendations?k=1&offset=1",
    "items": [_ITEM],
}


class Item(BaseModel):
    """One place of a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ITEM]})

    item_id: str = Field(description="The item, by the id that your systems use.")
    rank: int = Field(description="The place, from 1; later pages continue the count.")
    score: float = Field(description="Higher is better; comparable within one list.")
    reason: str = Field(description="Why the item is here, in a form that can be counted in the data.")
    title: str | None = None
    url: str | None = None
    image: str | None = None
    price: float | None = None
    currency: str | None = None


class RecommendationList(BaseModel):
    """A ranked list and its origin."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LIST]})

    recommendation_id: str = Field(description="Names this answer. Send it back with feedback.")
    placement: str
    model_version: int | None = Field(description="The version of the model; null if no model was used.")
    batch_id: int | None = Field(description="The published batch; null for items that no batch lists.")
    source: Source = Field(
        description="The part that answered: `live`, `cache` and `table` as usual; `last_good`, `segment` and "
        "`popular` if those did not have the list."
    )
    degraded: bool = Field(description="Whether a part that should have answered did not.")
    next: str | None = Field(default=None, description="The next page; null on the last one.")
    variant: str | None = Field(
        default=None, description="`experiment/variant` of the visitor; absent if no experiment runs for them."
    )
    items: list[Item]


class BatchedList(RecommendationList):
    """The list of one user or item of a batch request."""

    id: str = Field(description="The user or item of the request.")


class BatchedLists(BaseModel):
    """Lists in the order of the request."""

    lists: list[BatchedList]


class Accepted(BaseModel):
    """What was made durable."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message_id": "order-17-view-3", "status": "stored"}]})

    message_id: str = Field(description="Names the message. Repeating a request with the same id has one effect.")
    status: str = Field(
        description="`stored` in the database, `spooled` on disk while the database is away, or `duplicate`."
    )


class AcceptedMany(BaseModel):
    """What was made durable, in the order of the request."""

    messages: list[Accepted]


class FaultOf(BaseModel):
    """One fault of a request."""

    place: str = Field(description="A parameter, or a pointer into the body.")
    detail: str


class ProblemDocument(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, and what to do.")
    request_id: str = Field(description="Finds the request in the server's log.")
    faults: list[FaultOf] = Field(default=[], description="All faults of a refused request.")


_DESCRIPTION: Final = """
Recommendations in milliseconds, whatever is down.

Send a key with each request: `Authorization: Bearer KEY`. Errors are `application/problem+json` (RFC 9457). Ids are
those of your own systems, and are used exactly; encode `/` in a path as `%2F`.
"""
_SCHEMA: Final = {"$ref": "#/components/schemas/ProblemDocument"}
_REQUEST_ID: Final = "9f2c4e6a8b0d1f35"
_REFUSED: Final = Problem(422, "invalid-request", "k: Give a whole number from 1 to 200.", [Fault("k", "Give …")])
_CONFLICT: Final = Problem(409, "message-id-used", "Another message has this message_id.")
_OUTDATED: Final = Problem(
    409, "outdated-version", "The current version is 7. Read the rules again, and repeat the change on them."
)
UNKNOWN_REQUEST: Final = Problem(404, "unknown-request", "There is no such request, or it has no file.")
ERASURE_WAITS: Final = Problem(
    409, "erasure-waits", "An erasure of some of these users waits: lift them once it is done."
)
_NOT_READY: Final = Problem(503, "overloaded", problems.OVERLOADED.detail, headers=problems.OVERLOADED.headers)
_EVERYWHERE: Final = (problems.PATH_TOO_LONG, problems.HEADERS_TOO_LARGE, problems.INTERNAL)
_WITH_KEY: Final = (problems.NO_KEY, problems.scope_missing("write"), problems.rate_exceeded(1), _NOT_READY)
_OF_BODIES: Final = (
    problems.UNREADABLE,
    problems.BODY_TOO_SLOW,
    problems.body_too_large(MOST_BYTES),
    problems.NOT_JSON,
)
_HEADERS: Final[Mapping[str, Any]] = {
    "X-Request-Id": ("Names the request in logs; your own id, if you sent one.", _REQUEST_ID),
    "RateLimit-Policy": ("The requests that the key may send, and in how many seconds.", '"default";q=1000;w=1'),
    "RateLimit": ("The requests that remain, and the seconds until all are allowed again.", '"default";r=999;t=1'),
    "Retry-After": ("Seconds to wait before the request is repeated.", "1"),
    "Link": ('The next page, with `rel="next"`.', '</v1/popular?offset=20>; rel="next"'),
    "Allow": ("The methods of the path.", "GET"),
    "WWW-Authenticate": ("How to send a key.", 'Bearer realm="tailorbird"'),
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application."""
    described = get_openapi(title="Tailorbird", version=package_version(), description=_DESCRIPTION, routes=app.routes)
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDocument"] = problem
    components["headers"] = {name: _header(name) for name in _HEADERS}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `tailorbird keys create`."},
        "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            _complete(operation, path, method)
    return described


def _complete(operation: dict[str, Any], path: str, method: str) -> None:
    """Add scope, errors and headers to one operation."""
    scope = operation.pop(SCOPE, "read")
    is_open, has_body = scope == OPEN, method in ("post", "put", "patch")
    operation["security"] = [] if is_open else [{"bearer": []}, {"header": []}]
    if not is_open:
        operation["description"] = f"{operation.get('description', '')}\n\nThe key needs the scope `{scope}`."
    parameters = operation.setdefault("parameters", [])
    parameters.append(_REQUEST_ID_HEADER)
    answers = operation["responses"]
    answers.pop("422", None)
    always = ("X-Request-Id",) if is_open else ("X-Request-Id", "RateLimit", "RateLimit-Policy")
    own = {name: _reference(name) for name in always}
    for answer in answers.values():
        answer["headers"] = dict(own)
        if any(parameter["name"] == "offset" for parameter in parameters):
            answer["headers"]["Link"] = _reference("Link")
    for problem in _problems(scope, path, has_body=has_body, has_parameters=len(parameters) > 1):
        answers[str(problem.status)] = _error(problem, own)
    if path == "/readyz":
        answers["503"] = {**answers["200"], "description": "The process is not ready."}


def _problems(scope: str, path: str, *, has_body: bool, has_parameters: bool) -> list[Problem]:
    """Return the problems that an operation may answer with; of one status, the last one is the example."""
    is_open = scope == OPEN
    found = [*_EVERYWHERE, *(() if is_open else _WITH_KEY), *(_OF_BODIES if has_body else ())]
    if has_body or has_parameters or scope in ("admin", "privacy"):
        found.append(_REFUSED)
    if (scope == "read" and path.startswith("/v1/")) or (scope in ("admin", "privacy") and has_body):
        found.append(Problem(404, "unknown-placement", "There is no such placement; there are email, home."))
    if scope == "write":
        found += [_CONFLICT, problems.NOT_STORED, problems.unknown_items([0])]
    if scope == "admin":
        found += [problems.NOT_STORED, problems.DATABASE_AWAY, *([_OUTDATED] if has_body else ())]
    if scope == "privacy":
        found += [problems.NOT_STORED, problems.DATABASE_AWAY, ERASURE_WAITS if has_body else UNKNOWN_REQUEST]
    return found


def _error(problem: Problem, headers: Mapping[str, Any]) -> dict[str, Any]:
    own = {_NAMES[name.lower()]: _reference(_NAMES[name.lower()]) for name in problem.headers}
    return {
        "description": problem.title,
        "headers": {**headers, **own},
        "content": {MEDIA_TYPE: {"schema": _SCHEMA, "example": problem.document(_REQUEST_ID)}},
    }


_NAMES: Final = {name.lower(): name for name in _HEADERS}


def _reference(header: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{header}"}


def _header(name: str) -> dict[str, Any]:
    text, example = _HEADERS[name]
    return {"description": text, "schema": {"type": "string"}, "example": example}


_REQUEST_ID_HEADER: Final[Mapping[str, Any]] = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "An id of yours for the request: letters, digits, `.`, `-` and `_`. Others are replaced.",
    "schema": {"type": "string"},
    "example": _REQUEST_ID,
}
