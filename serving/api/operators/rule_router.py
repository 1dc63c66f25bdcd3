"""Endpoints of the rules of operators, and of previews."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from models.lists.rules.layer.rule_layer import RuleLayer, RuleVersion
from serving.api.gate.call import Call, Reply, call_of, response
from serving.api.gate.routes import SCOPE, add_hot_route
from serving.api.operators.answering import answered, operators, page_from, page_size
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
from serving.api.replies.lists import list_request
from serving.api.requests.list_query import PAGING, ListQuery, QueryParser
from serving.api.requests.problems import Fault, RefusedRequestError, unknown_placement
from serving.api.state import USERS, Operators, kind_of
from serving.operations.requests import Author

router = APIRouter(tags=["operators"])
_PARSER = QueryParser(PAGING)
_ADMIN = {SCOPE: "admin"}


async def rules(call: Call) -> Reply:
    """Return the current rules of operators, their conflicts with the placements file, and all versions by pages.

    A page ends before `k` versions if they have many rules.
    """
    query = _PARSER.parse(call.query)
    own = operators(call)
    with answered():
        stored = await own.changes.history(page_size(query), query.offset)
        found = await _conflicts(own, stored.current.layer)
    shown = [Version.of(version) for version in stored.versions]
    following, headers = (None, ()) if stored.is_last else page_from("/v1/rules", query, query.offset + len(shown))
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
        current=PreviewedList.of(made.current),
        edited=None if made.edited is None else PreviewedList.of(made.edited),
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
