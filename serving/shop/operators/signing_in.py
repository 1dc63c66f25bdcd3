"""The sign-in of operators, and its end."""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.shop.operators.page import HOME, SIGN_IN, OperatorPage, OperatorParts, signed_in
from serving.shop.operators.sessions import COOKIE, SECONDS
from serving.shop.pages.page import Page

_LONGEST_NAME: Final = 100
_NO_NAME: Final = f"Type your name: 1 to {_LONGEST_NAME} letters. It is stored as the author of your rules."
_WRONG: Final = "The password is wrong. `tailorbird logins` prints it."


async def sign_in_page(request: Request) -> Response:
    """Show the form of the sign-in."""
    return _form(Page.of(request), {})


async def sign_in(request: Request) -> Response:
    """Sign in with a name and the installation's password. A few wrong ones make everybody wait."""
    page, parts = Page.of(request), _parts(request)
    fields = await page.form()
    name = fields.get("name", "").strip()
    if not (0 < len(name) <= _LONGEST_NAME and name.isprintable()):
        return _form(page, {"name": _NO_NAME}, name, status=422)
    if wait := parts.sessions.wait_seconds():
        text = f"There were too many wrong passwords. Try again in {wait} s."
        refused = _form(page, {"password": text}, name, status=429)
        refused.headers["retry-after"] = str(wait)
        return refused
    operator = parts.sessions.sign_in(name, fields.get("password", ""))
    if operator is None:
        return _form(page, {"password": _WRONG}, name, status=403)
    response = RedirectResponse(HOME, 303)
    response.set_cookie(
        COOKIE,
        parts.sessions.cookie(operator),
        max_age=SECONDS,
        path=HOME,
        httponly=True,
        samesite="strict",
        secure=parts.is_https,
    )
    return response


@signed_in
async def sign_out(page: OperatorPage) -> Response:
    """End the sign-in, also for copies of its cookie."""
    await page.form()
    page.parts.sessions.end(page.operator)
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="strict", secure=page.parts.is_https)
    return response


def _form(page: Page, errors: dict[str, str], name: str = "", status: int = 200) -> Response:
    return page.show("operator/sign_in.html", status, errors=errors, name=name)


def _parts(request: Request) -> OperatorParts:
    parts: OperatorParts = request.app.state.operators
    return parts
