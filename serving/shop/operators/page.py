"""What each page of operators works with: the request, who signed in, and the API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serving.shop.operators.api import OperatorApi
from serving.shop.operators.sessions import COOKIE, Operator, Sessions
from serving.shop.pages.rendering import rendered
from serving.shop.security.forms import read_form
from serving.shop.security.signing import form_token

HOME: Final = "/operator"
SIGN_IN: Final = f"{HOME}/sign-in"
_MOST_BYTES: Final = 131_072
"""A form carries a draft."""


@dataclass(frozen=True)
class OperatorParts:
    """What the start of the shop opens for operators."""

    api: OperatorApi
    sessions: Sessions
    is_https: bool


@dataclass(frozen=True)
class OperatorPage:
    """One request of an operator."""

    request: Request
    parts: OperatorParts
    operator: Operator

    @property
    def api(self) -> OperatorApi:
        """Return the API with the key of operators."""
        return self.parts.api

    async def form(self) -> Mapping[str, str]:
        """Return the fields of the form. Raises HTTPException."""
        return await read_form(self.request, self.parts.sessions.secret, self.operator.nonce, _MOST_BYTES)

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return the page."""
        token = form_token(self.parts.sessions.secret, self.operator.nonce)
        saved = self.request.query_params.get("saved", "")
        known = {"operator": self.operator, "token": token, "saved": saved if _is_number(saved) else ""}
        return HTMLResponse(rendered(f"operator/{template}", **known, **values), status)


def signed_in(show: Callable[[OperatorPage], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that leads to the sign-in unless the browser is signed in."""

    @wraps(show)
    async def endpoint(request: Request) -> Response:
        parts: OperatorParts = request.app.state.operators
        operator = parts.sessions.known(request.cookies.get(COOKIE, ""))
        if operator is None:
            return RedirectResponse(SIGN_IN, 303)
        return await show(OperatorPage(request, parts, operator))

    return endpoint


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
