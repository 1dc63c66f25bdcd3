"""The pages of operators and their addresses: overview, reports, history and sign-in; `placement` has that of rules."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.errors import reason_fault
from models.lists.rules.layer.rule_layer import NO_VERSION
from serving.api.gate.routes import INCOMING, OPEN, SCOPE, add_hot_route
from serving.api.operators.pages import placement
from serving.api.operators.pages.page import (
    COOKIE,
    DEEPEST,
    HOME,
    SIGN_IN,
    OperatorPage,
    Show,
    go,
    is_number,
    open_page,
    signed_in,
)
from serving.api.operators.pages.placement import titles_of
from serving.api.operators.pages.rules import Change, refusal
from serving.api.operators.router import answered
from serving.api.requests.problems import ProblemError
from serving.api.state import Call, Reply
from serving.http.safe_pages import STORED
from serving.operations.reports import ChampionReport, Paging

router = APIRouter()
_HISTORY: Final = f"{HOME}/history"
_REPORTS: Final = f"{HOME}/reports"
_PAGE: Final = 20
_NO_COMMENT: Final = "State in a few words why."
_MEANWHILE: Final = "Another version was stored meanwhile. Look at it, then decide again."


async def history(page: OperatorPage) -> Response:
    """Show versions with author, time and comment, the latest first."""
    return await _versions(page, _offset(page.request.query_params.get("offset", "")))


async def undo(page: OperatorPage) -> Response:
    """Make the rules of an earlier version current again."""
    fields = await page.form()
    offset, comment = _offset(fields.get("offset", "")), fields.get("comment", "").strip()
    target, version = (_number(fields.get(name, "")) for name in ("target", "version"))
    status, why = 422, refusal(comment) if comment else _NO_COMMENT
    if not why:
        try:
            with answered():
                stored = await page.parts.changes.undo(version, target, page.author(comment))
            return go(f"{_HISTORY}?saved={stored.version}")
        except ProblemError as error:
            faults = " ".join(fault.detail for fault in error.problem.faults)
            status, why = error.problem.status, faults or error.problem.detail
            if status == 409:
                why = _MEANWHILE
    return await _versions(page, offset, status, {"comment": why, "target": str(target), "typed": comment})


async def _versions(
    page: OperatorPage, offset: int, status: int = 200, errors: Mapping[str, str] | None = None
) -> Response:
    stored, steps, titles, following = None, list[Change](), dict[str, str](), None
    try:
        with answered():
            stored = await page.parts.changes.history(_PAGE + 1, offset)
        # Before the first version there were no rules.
        versions = [*stored.versions, NO_VERSION] if stored.is_last else stored.versions
        steps = [Change.between(before, after) for after, before in pairwise(versions)]
        end = offset + len(steps)  # fewer versions are read at once if they have many rules
        following = None if stored.is_last or end > DEEPEST else end
        titles = await titles_of(page, (rule for version in stored.versions for rule in version.layer))
    except ProblemError as error:
        status = error.problem.status
    known = {"current": stored and stored.current, "steps": steps, "titles": titles, "errors": errors or {}}
    return await page.show("history.html", status, offset=offset, following=following, size=_PAGE, **known)


def _number(text: str) -> int:
    if not is_number(text):
        raise HTTPException(400, "The form names no version.")
    return int(text)


def _offset(text: str) -> int:
    return min(int(text), DEEPEST) if is_number(text) else 0


_PLACEMENT: Final = f"{HOME}/placements/{{placement}}"
_FILES: Final = {"operator.css": b"text/css; charset=utf-8", "icon.svg": b"image/svg+xml"}
_LAST: Final = Paging(10, 0)
_FIGURES: Final = ("ndcg_at_10", "new_ndcg_at_10", "recall_at_10", "hit_rate_at_10", "coverage_at_10", "users")
_LONGEST_NAME: Final = 100
_NO_NAME: Final = f"Type your name: 1 to {_LONGEST_NAME} letters. It is stored as the author of your rules."
_WRONG: Final = "The password is wrong. `tailorbird logins` prints it."
_WEEKS: Final = 12
_Report = TypeVar("_Report")


async def overview(page: OperatorPage) -> Response:
    """Show what recommendations earned, placements, and where engineers go on."""
    own = page.parts.reports
    known = {"earned": own.earned(_WEEKS), "experiments": own.experiments(), "placements": own.placements()}
    return await _reported(page, "overview.html", **known, alerts=own.alerts(Paging(1, 0)), services=own.services())


async def stop_experiment(page: OperatorPage) -> Response:
    """Stop an experiment, with the operator's name and reason."""
    reason = (await page.form()).get("comment", "").strip()
    if fault := reason_fault(reason, "the experiment stops", "the test won"):
        raise HTTPException(422, fault)
    with answered():
        await page.parts.reports.stop_experiment(page.call.value, page.operator.name, reason)
    return go(HOME)


async def reports(page: OperatorPage) -> Response:
    """Show the reports for engineers: alerts, placements, the models side by side, drift, and the ledger."""
    own = page.parts.reports
    known = {"placements": own.placements(), "models": own.champion(), "ledger": own.ledger(_LAST)}
    return await _reported(page, "reports.html", **known, drift=own.drift(_LAST), alerts=own.alerts(_LAST))


async def _reported(page: OperatorPage, template: str, **asked: Awaitable[Any]) -> Response:
    """Show a page with all reports that the database gives."""
    found = dict(zip(asked, await asyncio.gather(*map(_known, asked.values())), strict=True))
    missing = [name for name, report in found.items() if report is None]
    status = 503 if len(missing) == len(found) else 200
    return await page.show(template, status, missing=missing, figures=_figures, **found)


async def _known(report: Awaitable[_Report]) -> _Report | None:
    """Return a report; None while the database does not give it."""
    try:
        with answered():
            return await report
    except ProblemError:
        return None


def _figures(models: ChampionReport) -> tuple[list[str], list[str]]:
    """Return the names of the first figures of champion and challenger, and of all others."""
    names = {name for one in (models.champion, models.challenger) if one is not None for name in one.metrics}
    return [name for name in _FIGURES if name in names], sorted(names.difference(_FIGURES))


async def sign_in_page(page: OperatorPage) -> Response:
    """Show the form of the sign-in. Its token is bound to a cookie, which other sites cannot send."""
    return page.keep(await _sign_in_form(page, {}), page.operator)


async def sign_in(page: OperatorPage) -> Response:
    """Sign in with a name and the installation's password. A few wrong ones make everybody wait."""
    fields, sign_ins = await page.form(), page.parts.sign_ins
    name = fields.get("name", "").strip()
    if not (0 < len(name) <= _LONGEST_NAME and name.isprintable()):
        return await _sign_in_form(page, {"name": _NO_NAME}, name, 422)
    if wait := sign_ins.wait_seconds():
        text = f"There were too many wrong passwords. Try again in {wait} s."
        refused = await _sign_in_form(page, {"password": text}, name, 429)
        refused.headers["retry-after"] = str(wait)
        return refused
    operator = sign_ins.sign_in(name, fields.get("password", ""))
    if operator is None:
        return await _sign_in_form(page, {"password": _WRONG}, name, 403)
    return page.keep(go(HOME), operator)


async def sign_out(page: OperatorPage) -> Response:
    """End the sign-in, also for copies of its cookie."""
    await page.form()
    page.parts.sign_ins.end(page.operator)
    response = go(SIGN_IN)
    response.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="strict")
    return response


async def _sign_in_form(page: OperatorPage, errors: dict[str, str], name: str = "", status: int = 200) -> Response:
    return await page.show("sign_in.html", status, errors=errors, name=name)


def _file(name: str) -> Callable[[Call], Awaitable[Reply]]:
    content = (Path(__file__).parent / name).read_bytes()
    headers = tuple((one.encode(), value.encode()) for one, value in STORED.items())

    async def file(_: Call) -> Reply:
        """Return a file of the pages."""
        return Reply(content, media_type=_FILES[name], headers=headers)

    return file


def _add(path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str) -> None:
    extra = {SCOPE: INCOMING}
    router.add_api_route(path, endpoint, methods=[*methods], openapi_extra=extra, include_in_schema=False)


_pages: dict[str, Show] = {HOME: overview, _REPORTS: reports, _HISTORY: history, _PLACEMENT: placement.placement}
_forms: dict[str, Show] = {
    f"{HOME}/sign-out": sign_out,
    f"{_HISTORY}/undo": undo,
    f"{HOME}/experiments/{{experiment}}/stop": stop_experiment,
    **{f"{_PLACEMENT}/{name}": step for name, step in placement.STEPS.items()},
}
for _path, _show in _pages.items():
    _add(_path, signed_in(_show), "GET", "HEAD")
for _path, _show in _forms.items():
    _add(_path, signed_in(_show), "POST")
_add(SIGN_IN, open_page(sign_in_page), "GET", "HEAD")
_add(SIGN_IN, open_page(sign_in), "POST")
for _name in _FILES:
    add_hot_route(router, f"{HOME}/{_name}", _file(_name), (), None, OPEN, include_in_schema=False)
