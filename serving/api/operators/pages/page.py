"""What each page of operators works with: the request, who signed in, and the parts of the server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from models.gate.results import stored_comparison
from serving.api.operators.pages.curves import HEIGHT, WIDTH, click_curve, day, days_curve, money, percent, value_curve
from serving.api.operators.pages.rules import key, moment, words
from serving.api.operators.router import operators
from serving.api.requests.problems import ProblemError
from serving.api.state import Call, Operators, call_of
from serving.http.safe_pages import HEADERS, PRIVATE, form_token, read_form, templates
from serving.operations.reports import Author, VersionReport
from serving.operations.sign_ins import KEY, SECONDS, Operator

if TYPE_CHECKING:
    from jinja2 import Environment

HOME: Final = "/operator"
SIGN_IN: Final = f"{HOME}/sign-in"
COOKIE: Final = "tailorbird_operator"
DOWN: Final = (
    "The database does not answer at the moment. Your draft stays on this page: try again in a minute. A change is "
    "never stored twice."
)
DEEPEST: Final = 9_900
"""The largest offset of a page of versions."""
_HOSTS: Final = ("127.0.0.1", "localhost")
"""Pages are for browsers of this machine. Names of other hosts may lead a browser here, too."""
_OTHER_HOST: Final = "Open this page as http://127.0.0.1 or http://localhost, from another machine through SSH."
_MOST_BYTES: Final = 131_072
"""A form carries a draft."""


@dataclass(frozen=True)
class OperatorPage:
    """One request of an operator."""

    request: Request
    call: Call
    parts: Operators
    operator: Operator

    async def form(self) -> Mapping[str, str]:
        """Return the fields of the form. Raises HTTPException and ProblemError."""
        incoming = self.call.incoming
        assert incoming is not None  # the routes say so
        return await read_form(
            self.request, lambda: incoming.read(_MOST_BYTES), self.parts.sign_ins.secret, self.operator.nonce
        )

    async def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return the page. It is rendered beside the answers of the API, which do not wait for it."""
        saved = self.request.query_params.get("saved", "")
        token = form_token(self.parts.sign_ins.secret, self.operator.nonce)
        known = {"operator": self.operator, "token": token, "saved": saved if is_number(saved) else ""}
        rendered = await asyncio.to_thread(lambda: _templates().get_template(template).render({**known, **values}))
        return HTMLResponse(rendered, status)

    def author(self, comment: str) -> Author:
        """Return who changes rules, and why. No key of the API stands behind it."""
        return Author(self.operator.name, comment, KEY)

    def keep(self, response: Response, operator: Operator) -> Response:
        """Return the response with the cookie of an operator."""
        cookie, is_https = self.parts.sign_ins.cookie(operator), self.request.url.scheme == "https"
        response.set_cookie(
            COOKIE, cookie, max_age=SECONDS, path=HOME, httponly=True, samesite="strict", secure=is_https
        )
        return response


Show = Callable[[OperatorPage], Awaitable[Response]]


def open_page(show: Show) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page that needs no sign-in. Each answer has the headers of safe pages."""

    async def endpoint(request: Request) -> Response:
        call = call_of(request)
        parts = operators(call)
        known = parts.sign_ins.known(request.cookies.get(COOKIE, ""))
        page = OperatorPage(request, call, parts, known or parts.sign_ins.visitor())
        try:
            if request.headers.get("host", "").partition(":")[0] not in _HOSTS:
                raise HTTPException(400, _OTHER_HOST)
            response = await show(page)
        except HTTPException as error:
            response = await _failed(page, error.status_code, error.detail)
        except ProblemError as error:
            response = await _failed(page, error.problem.status, error.problem.detail)
            response.headers.update(error.problem.headers)
        response.headers.update(HEADERS | PRIVATE)
        return response

    return endpoint


def signed_in(show: Show) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page, which leads to the sign-in unless the browser is signed in."""

    async def checked(page: OperatorPage) -> Response:
        return await show(page) if page.operator.name else go(SIGN_IN)

    return open_page(checked)


def go(path: str) -> Response:
    """Return the way to another page."""
    return RedirectResponse(path, 303, {"content-type": "text/plain"})


def is_number(text: str) -> bool:
    """Return whether a text is a number of a version, or an offset."""
    return text.isascii() and text.isdigit() and len(text) <= 10


def compared(version: VersionReport) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return the gate's stored comparisons of a version, by kind of items and by the other model."""
    tables: dict[str, dict[str, Mapping[str, Any]]] = {}
    for check in version.gate:
        if comparison := stored_comparison(check):
            model, items = comparison
            tables.setdefault(items, {})[model] = check
    return tables


async def _failed(page: OperatorPage, status: int, detail: str) -> Response:
    return await page.show("error.html", status, heading=HTTPStatus(status).phrase, text=detail)


@cache
def _templates() -> "Environment":
    """Return the templates of the pages. Few servers ever show one, so none loads them at its start."""
    own = templates(Path(__file__).parent / "templates")
    own.globals.update(
        words=words,
        key=key,
        value_curve=value_curve,
        click_curve=click_curve,
        days_curve=days_curve,
        size=(WIDTH, HEIGHT),
    )
    own.filters.update(moment=moment, web=_web, compared=compared, day=day, percent=percent, money=money)
    return own


def _web(address: str | None) -> str:
    """Return an address that leads to a web page; empty for others."""
    return address if address is not None and address.startswith(("http://", "https://")) else ""
