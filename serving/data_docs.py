"""Serves the Data Docs of the newest batches from a folder, behind a login: an index, and one page per batch."""

from collections.abc import Mapping
from hmac import compare_digest
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.configuration.settings import load
from infra.services.data_docs import MAX_PAGES, NAME, PAGE, About, list_pages, pages_folder
from infra.services.endpoints import docs_login
from infra.services.http_client import basic_auth

_HEADERS = {
    # The pages need no script and no external content, and they contain values from untrusted files.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-cache",
}
_VERDICTS = ("<span class='failed'>refused</span>", "<span class='passed'>passed</span>")
_FRAME = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd }}
.failed {{ color: #b3261e; font-weight: 600 }} .passed {{ color: #1b6e3c; font-weight: 600 }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""


class LoginRequired:
    """Requires the login for every path except /health, which reveals nothing."""

    def __init__(self, app: ASGIApp, login: str) -> None:
        self._app = app
        self._expected = basic_auth(login).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or pass the request on, with the same headers on every answer."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        app = self._app if scope["type"] != "http" or self._is_allowed(scope) else _refused()
        await app(scope, receive, sealed)

    def _is_allowed(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("authorization", "").encode()
        return compare_digest(given, self._expected) or scope["path"] == "/health"


def site(folder: Path, login: str) -> ASGIApp:
    """Return the server of the pages in `folder`, for clients with this `login` (user:password)."""

    def index(_: Request) -> Response:
        return _page("Data Docs", _table([(path.name, about) for path, about in list_pages(folder)]))

    def page(request: Request) -> Response:
        name = request.path_params["name"]
        path = folder / name / PAGE
        if NAME.fullmatch(name) and path.is_file():
            return FileResponse(path, media_type="text/html")
        return _page(
            "Not here", f"<p>The pages of the newest {MAX_PAGES} batches are kept: <a href='/'>these</a>.</p>", 404
        )

    def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    routes = [Route("/health", health), Route("/", index), Route("/{name}/", page)]
    return LoginRequired(Starlette(routes=routes), login)


def app() -> ASGIApp:
    """Return the server of this installation: `uvicorn --factory serving.data_docs:app`."""
    settings = load()
    return site(pages_folder(settings.var), docs_login(settings))


def _refused() -> Response:
    challenge: Mapping[str, str] = {"WWW-Authenticate": 'Basic realm="Tailorbird Data Docs", charset="UTF-8"'}
    return PlainTextResponse("Sign in; `tailorbird logins` shows the password.", 401, challenge)


def _page(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(_FRAME.format(title=title, body=body), status)


def _table(entries: list[tuple[str, About]]) -> str:
    if not entries:
        return "<p>No batch was judged yet.</p>"
    rows = "".join(
        f"<tr><td><a href='/{name}/'>{escape(about.batch_id)}</a></td><td>{escape(about.dataset)}</td>"
        f"<td>{_VERDICTS[about.passed]}</td><td>{escape(about.judged_at[:19].replace('T', ' '))} UTC</td></tr>"
        for name, about in entries
    )
    heads = "".join(f"<th>{head}</th>" for head in ("Batch", "Data set", "Verdict", "Judged"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
