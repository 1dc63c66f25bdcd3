"""Puts routers, errors and the gate together."""

from typing import TYPE_CHECKING, NoReturn

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp

from serving.api.endpoints.calls import router as calls
from serving.api.endpoints.feedback import router as feedback
from serving.api.endpoints.health import router as health
from serving.api.endpoints.items import router as items
from serving.api.endpoints.lists import baskets, listings
from serving.api.endpoints.slots import router as slots
from serving.api.endpoints.users import router as users
from serving.api.gate.gate import Gate
from serving.api.gate.request_log import Lifespan, until_sent
from serving.api.gate.routes import RouteTable, add_hot_route
from serving.api.operators.pages.router import router as pages
from serving.api.operators.privacy import router as privacy
from serving.api.operators.router import router as operators
from serving.api.replies.document import document
from serving.api.requests.problems import UNREADABLE, Fault, ProblemError, RefusedRequestError
from serving.api.state import Call, Reply, State

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


def build_app(state: State, lifespan: Lifespan | None = None, traces: "TracerProvider | None" = None) -> ASGIApp:
    """Return the application of a state. `lifespan` opens and closes its parts."""
    lifespan = lifespan if traces is None else until_sent(traces, lifespan)
    app = FastAPI(title="Tailorbird", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    own = _described(app)
    routers = users, items, baskets, slots, listings, feedback, calls, operators, privacy, pages, health, own
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _unreadable)
    return Gate(
        app,
        RouteTable(route for router in routers for route in router.routes),
        state,
        None if traces is None else traces.get_tracer("tailorbird"),
    )


def _described(app: FastAPI) -> APIRouter:
    """Return the endpoint of the OpenAPI document, which is built on first use."""
    built: list[bytes] = []

    async def openapi(_: Call) -> Reply:
        """Return the OpenAPI document."""
        if not built:
            built.append(orjson.dumps(document(app)))
        return Reply(built[0])

    router = APIRouter()
    add_hot_route(router, "/openapi.json", openapi, (), None, include_in_schema=False)
    return router


async def _refused(_: Request, error: Exception) -> NoReturn:
    """Raise the problem of a body that its model refuses; the gate answers. The values of the body are not repeated."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    faults = [Fault(_pointer(one["loc"]), _sentence(str(one["msg"]))) for one in found] or [Fault("body", "Refused.")]
    raise RefusedRequestError(faults)


async def _unreadable(_: Request, error: Exception) -> NoReturn:
    """Raise the problem of a body that is no JSON at all."""
    raise ProblemError(UNREADABLE) from error


def _pointer(place: tuple[str | int, ...]) -> str:
    """Return a JSON pointer; names of the caller's own fields are cut."""
    parts = [str(part)[:64] for part in place if part != "body"]
    return "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)


def _sentence(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
