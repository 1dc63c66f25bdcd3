"""Endpoints of operators: rules, previews and reports."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from infra.outages import explain
from models.lists.rules.layer.rule_layer import RuleLayer, RuleVersion
from serving.api.gate.routes import SCOPE, add_hot_route
from serving.api.operators.rule_protocol import (
    ConflictWithFile,
    CurrentRules,
    NewRules,
    PreviewedList,
    PreviewedLists,
    PreviewRequest,
    SavedRules,
    Undo,
    Version,
)
from serving.api.replies.lists import list_request, next_page
from serving.api.requests import problems
from serving.api.requests.problems import Fault, Problem, ProblemError, RefusedRequestError, unknown_placement
from serving.api.requests.values import PAGING, ListQuery, QueryParser
from serving.api.state import USERS, Call, Operators, Reply, call_of, kind_of, response
from serving.operations.reports import (
    AlertPage,
    Author,
    ChampionReport,
    DriftPage,
    LedgerPage,
    OutdatedVersionError,
    Paging,
    Placements,
    RefusedLayerError,
    UnknownVersionError,
)
from serving.stores.shared_loads import PostgresDownError

if TYPE_CHECKING:
    from serving.operations.report_reader import ReportReader


def operators(call: Call) -> Operators:
    """Return the parts that operators use. Raises ProblemError on a server without a database."""
    found = call.state.parts.operators
    if found is None:
        raise ProblemError(problems.NOT_STORED)
    return found


@contextmanager
def answered() -> Iterator[None]:
    """Turn errors into problems."""
    try:
        yield
    except RefusedLayerError as error:
        raise RefusedRequestError([Fault(f"/rules{fault.place}", fault.detail) for fault in error.faults]) from None
    except OutdatedVersionError as error:
        raise ProblemError(Problem(409, "outdated-version", str(error))) from None
    except UnknownVersionError as error:
        raise RefusedRequestError([Fault("/target", str(error))]) from None
    except PostgresDownError:
        raise ProblemError(problems.DATABASE_AWAY) from None
    except Exception as error:
        if explain(error) is None:  # no outage, so a defect
            raise
        raise ProblemError(problems.DATABASE_AWAY) from None


router = APIRouter(tags=["operators"])
_PARSER, _NOTHING = QueryParser(PAGING), QueryParser(())
_ADMIN = {SCOPE: "admin"}
_PER_PAGE = 20
_Entry = TypeVar("_Entry")


async def rules(call: Call) -> Reply:
    """Return the current rules of operators, their conflicts with the placements file, and all versions by pages.

    A page ends before `k` versions if they have many rules.
    """
    query = _PARSER.parse(call.query)
    own = operators(call)
    with answered():
        stored = await own.changes.history(query.k or _PER_PAGE, query.offset)
        found = await _conflicts(own, stored.current.layer)
    shown = [Version.of(version) for version in stored.versions]
    following, headers = (None, ()) if stored.is_last else next_page("/v1/rules", query, query.offset + len(shown))
    document = CurrentRules(current=Version.of(stored.current), conflicts=found, versions=shown, next=following)
    return Reply(_json(document), headers=headers)


add_hot_route(router, "/v1/rules", rules, PAGING, CurrentRules, "admin")


@router.put("/v1/rules", response_model=SavedRules, openapi_extra=_ADMIN)
async def put_rules(new: NewRules, request: Request) -> Response:
    """Store a new version of the rules; it counts in the next answer, within a second on all servers.

    `version` is the version that the change is based on: if another one was stored since, the answer is 409.
    """
    call = call_of(request)
    own = operators(call)
    with answered():
        stored = await own.changes.save(new.rules.layer(), new.version, _author(call, new.author, new.comment))
        return await _saved(own, stored)


@router.post("/v1/rules/undo", response_model=SavedRules, openapi_extra=_ADMIN)
async def undo_rules(undo: Undo, request: Request) -> Response:
    """Store a version equal to an earlier one; no version is ever removed."""
    call = call_of(request)
    own = operators(call)
    with answered():
        stored = await own.changes.undo(undo.version, undo.target, _author(call, undo.author, undo.comment))
        return await _saved(own, stored)


@router.post("/v1/preview", response_model=PreviewedLists, openapi_extra=_ADMIN)
async def preview(wanted: PreviewRequest, request: Request) -> Response:
    """Return a list under the current rules and under edited ones. Nothing is stored, and no impression is logged."""
    call = call_of(request)
    own = operators(call)
    placement = call.state.placements.get(wanted.placement)
    if placement is None:
        raise unknown_placement(sorted(call.state.placements))
    kind = kind_of(placement)
    if (kind == USERS) is (wanted.item is not None):
        needs = "It is about users, and takes no item." if kind == USERS else "It is about items. Name one."
        raise RefusedRequestError([Fault("/item", needs)])
    query = ListQuery(wanted.placement, session=wanted.session, k=wanted.k, context=tuple(wanted.context))
    asked = list_request(call.state, query, wanted.user, kind)
    edited = None if wanted.rules is None else wanted.rules.layer()
    with answered():
        made = await own.previews.preview(asked, wanted.item, edited)
        found = [] if edited is None else await _conflicts(own, edited)
    document = PreviewedLists(
        placement=wanted.placement,
        current=PreviewedList.model_validate(made.current, from_attributes=True),
        edited=None if made.edited is None else PreviewedList.model_validate(made.edited, from_attributes=True),
        conflicts=found,
    )
    return response(Reply(_json(document)))


async def _saved(own: Operators, stored: RuleVersion) -> Response:
    found = await _conflicts(own, stored.layer)
    return response(Reply(_json(SavedRules(current=Version.of(stored), conflicts=found))))


async def _conflicts(own: Operators, layer: RuleLayer) -> list[ConflictWithFile]:
    found = await own.changes.conflicts(layer)
    places = [None if one.rule is None else layer.place_of(one.rule) for one in found]
    return [
        ConflictWithFile(placement=one.placement, detail=one.detail, rule=place)
        for one, place in zip(found, places, strict=True)
    ]


def _author(call: Call, name: str | None, comment: str) -> Author:
    key = call.key
    assert key is not None  # the gate has checked it
    return Author(name or key.name, comment, key.key_id)


def _json(document: BaseModel) -> bytes:
    return document.model_dump_json().encode()


async def placements(call: Call) -> Reply:
    """Return what each placement shows: its rules in words, the freshness of its lists, and answers by source."""
    _NOTHING.parse(call.query)
    with answered():
        return Reply(orjson.dumps(Placements(await operators(call).reports.placements())))


async def champion(call: Call) -> Reply:
    """Return champion and challenger side by side, with their figures and the checks of the gate."""
    _NOTHING.parse(call.query)
    with answered():
        return Reply(orjson.dumps(await operators(call).reports.champion()))


async def ledger(call: Call) -> Reply:
    """Return the batches of the ledger, the latest first."""
    return await _page(call, "/v1/ledger", lambda reports, wanted: reports.ledger(wanted), LedgerPage)


async def drift(call: Call) -> Reply:
    """Return the windows of the drift monitor, the latest first."""
    return await _page(call, "/v1/drift", lambda reports, wanted: reports.drift(wanted), DriftPage)


async def alerts(call: Call) -> Reply:
    """Return what needs a person, the latest first: drift, refused lists and batches, failed retraining, reviews."""
    return await _page(call, "/v1/alerts", lambda reports, wanted: reports.alerts(wanted), AlertPage)


async def _page(
    call: Call,
    path: str,
    report: Callable[["ReportReader", Paging], Awaitable[list[_Entry]]],
    page: Callable[[list[_Entry], str | None], Any],
) -> Reply:
    query = _PARSER.parse(call.query)
    size = query.k or _PER_PAGE
    with answered():  # one entry more shows whether there is a next page
        found = await report(operators(call).reports, Paging(size + 1, query.offset))
    following, headers = next_page(path, query, query.offset + size) if len(found) > size else (None, ())
    return Reply(orjson.dumps(page(found[:size], following)), headers=headers)


add_hot_route(router, "/v1/placements", placements, (), Placements, "admin")
add_hot_route(router, "/v1/champion", champion, (), ChampionReport, "admin")
add_hot_route(router, "/v1/ledger", ledger, PAGING, LedgerPage, "admin")
add_hot_route(router, "/v1/drift", drift, PAGING, DriftPage, "admin")
add_hot_route(router, "/v1/alerts", alerts, PAGING, AlertPage, "admin")
