"""The addresses of the operator page, and what they need."""

from typing import Final

import httpx
from starlette.routing import Route

from serving.shop.config import OperatorConfig
from serving.shop.operators import history, overview, placement, signing_in, steps
from serving.shop.operators.api import OperatorApi
from serving.shop.operators.page import HOME, SIGN_IN, OperatorParts
from serving.shop.operators.sessions import Sessions

_PLACEMENT: Final = f"{HOME}/placements/{{name}}"


def operator_routes() -> list[Route]:
    """Return the routes of all pages and forms."""
    gets = {
        HOME: overview.overview,
        SIGN_IN: signing_in.sign_in_page,
        history.PATH: history.history,
        _PLACEMENT: placement.placement,
    }
    posts = {
        SIGN_IN: signing_in.sign_in,
        f"{HOME}/sign-out": signing_in.sign_out,
        f"{history.PATH}/undo": history.undo,
        **{f"{_PLACEMENT}/{name}": step for name, step in steps.STEPS.items()},
    }
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
    ]


def operator_parts(config: OperatorConfig, client: httpx.AsyncClient, *, is_https: bool) -> OperatorParts:
    """Return the parts of one run; `client` gets the key."""
    client.headers["authorization"] = f"Bearer {config.key}"
    return OperatorParts(OperatorApi(client), Sessions(config.password), is_https)
