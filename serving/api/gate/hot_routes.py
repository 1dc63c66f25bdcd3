"""Registers endpoints that the gate calls directly. FastAPI only describes them in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serving.api.gate.call import Handler, call_of, response
from serving.api.gate.routes import HANDLER, SCOPE
from serving.api.requests.ids import LONGEST
from serving.api.requests.parameters import Parameter


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
    examples = {"user": "1", "item": "995242", "placement": "home", "key": "tb_0f8fad5bd9cb"}
    described = {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"The {name}, by the id that your systems use. Encode `/` as `%2F`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
        "example": examples[name],
    }
    return [described]
