"""Endpoints of requests of people: to be erased, for a copy, and about the use of their data."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from infra.database.privacy_requests import MOST_USERS, Asked
from serving.api.gate.routes import SCOPE, add_hot_route
from serving.api.operators.router import answered, operators
from serving.api.replies.document import ERASURE_WAITS, UNKNOWN_REQUEST
from serving.api.replies.lists import accepted, next_page
from serving.api.requests import problems
from serving.api.requests.problems import Fault, ProblemError, RefusedRequestError
from serving.api.requests.values import PAGING, Body, Flag, Id, PlacementName, QueryParser, ShortText
from serving.api.state import Call, Reply, call_of, response
from serving.events.message import correction

T = TypeVar("T")
Kind = Literal["erase", "export", "restrict", "lift", "correct", "object", "withdraw"]
Regulation = Literal["SUPPRESS_WITH_DELETE", "DELETE_ONLY", "SUPPRESS_ONLY", "UNSUPPRESS"]
_REGULATIONS: Final[Mapping[str, Kind]] = {
    "SUPPRESS_WITH_DELETE": "erase",
    "DELETE_ONLY": "erase",
    "SUPPRESS_ONLY": "restrict",
    "UNSUPPRESS": "lift",
}
"""What the words of Segment's Public API ask for."""
_ABOUT_PURPOSE: Final = ("object", "withdraw")
_PATH: Final = "/v1/privacy/requests"
_PARSER, _NOTHING = QueryParser(PAGING), QueryParser(())
_PER_PAGE: Final = 20
_MOST_DIGITS: Final = 18
router = APIRouter(tags=["privacy"])


class PrivacyRequest(Body):
    """A request of people. Fields may have the names of Segment's Public API, too."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "restrict", "user_ids": ["1"], "reason": "asked by mail"}]}
    )

    kind: Kind | Regulation = Field(validation_alias=AliasChoices("kind", "regulationType"))
    user_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_USERS)] = Field(
        validation_alias=AliasChoices("user_ids", "subjectIds"), description="The users; an export is of one."
    )
    reason: ShortText = Field(default="asked over the API", description="Why; name nobody.")
    purpose: PlacementName | None = Field(default=None, description="The placement to object to, or no longer.")
    traits: Annotated[dict[ShortText, ShortText | None], Field(max_length=50, default_factory=dict)] = Field(
        description="The right values, for `correct`; null for what is not true at all."
    )
    suppress: Flag = Field(default=False, description="Whether erased users stay away until a lift.")
    subject_type: Literal["USER_ID"] = Field(default="USER_ID", validation_alias="subjectType")


class RequestState(BaseModel):
    """A request, and what became of it."""

    number: int
    kind: str
    state: Literal["open", "done"]
    users: int = Field(description="How many users it names.")
    actor: str
    reason: str
    suppress: bool
    purpose: str | None
    asked_at: datetime
    due_at: datetime
    done_at: datetime | None
    is_late: bool
    removed: dict[str, int] = Field(description="Rows that were deleted, by store.")
    file: str | None = Field(description="The path of the copy that an export made; 7 days long.")

    @classmethod
    def of(cls, row: dict[str, Any]) -> "RequestState":
        """Return the state of a row."""
        return cls(**row, file=f"{_PATH}/{row['number']}/file" if row["has_file"] else None)


class RequestPage(BaseModel):
    """Requests, the newest first."""

    requests: list[RequestState]
    next: str | None


@router.post(_PATH, response_model=RequestState, status_code=202, openapi_extra={SCOPE: "privacy"})
async def ask(wanted: PrivacyRequest, request: Request) -> Response:
    """Record a request. Users to restrict or to erase are shown nothing from now on; the rest takes minutes.

    The words of Segment's Public API ask for the same: `SUPPRESS_WITH_DELETE`, `DELETE_ONLY`, `SUPPRESS_ONLY` and
    `UNSUPPRESS` as `regulationType`, with `subjectIds`.
    """
    call = call_of(request)
    own = operators(call)
    kind: str = _REGULATIONS.get(wanted.kind) or wanted.kind
    if kind in ("export", "correct") and len(wanted.user_ids) > 1:
        raise RefusedRequestError([Fault("/user_ids", "An export and a correction are of one user.")])
    if (kind == "correct") is not bool(wanted.traits):
        raise RefusedRequestError([Fault("/traits", "Name traits for `correct` only.")])
    stated = [name for name, value in wanted.traits.items() if value is not None]
    problems.refuse_unknown_traits(stated, call.state.traits)
    if (kind in _ABOUT_PURPOSE) is not (wanted.purpose is not None):
        raise RefusedRequestError([Fault("/purpose", "Name a placement for `object` and `withdraw` only.")])
    if wanted.purpose and wanted.purpose not in call.state.placements:
        raise problems.unknown_placement(sorted(call.state.placements))
    assert call.key is not None  # the gate has checked it
    users = {call.state.pseudonyms.of(name): name for name in wanted.user_ids}
    suppress = wanted.suppress or wanted.kind == "SUPPRESS_WITH_DELETE"
    if wanted.traits:
        await accepted(call, correction(call.state.pseudonyms, wanted.user_ids[0], wanted.traits))
    with answered():
        row = await own.privacy.record(Asked(kind, users, call.key.name, wanted.reason, suppress, wanted.purpose))
    if row is None:
        raise ProblemError(ERASURE_WAITS)
    return response(Reply(RequestState.of(row).model_dump_json().encode(), 202))


async def requests(call: Call) -> Reply:
    """Return all requests, the newest first."""
    query = _PARSER.parse(call.query)
    size = query.k or _PER_PAGE
    with answered():
        rows = await operators(call).privacy.page(size + 1, query.offset)
    following, headers = next_page(_PATH, query, query.offset + size) if len(rows) > size else (None, ())
    page = RequestPage(requests=[RequestState.of(row) for row in rows[:size]], next=following)
    return Reply(page.model_dump_json().encode(), headers=headers)


async def one_request(call: Call) -> Reply:
    """Return the state of a request: when it is due, and what was deleted."""
    row = await _found(call, operators(call).privacy.find)
    return Reply(RequestState.of(row).model_dump_json().encode())


async def copy_of_data(call: Call) -> Reply:
    """Return the copy of a user's data that an export made."""
    content = await _found(call, operators(call).privacy.file)
    return Reply(content, media_type=b"application/zip", headers=((b"content-disposition", b"attachment"),))


async def _found(call: Call, read: Callable[[int], Awaitable[T | None]]) -> T:
    """Return what `read` has for the number in the path. Raises ProblemError for nothing, and for no number."""
    _NOTHING.parse(call.query)
    if not (call.value.isascii() and call.value.isdigit() and len(call.value) <= _MOST_DIGITS):
        raise ProblemError(UNKNOWN_REQUEST)
    with answered():
        found = await read(int(call.value))
    if found is None:
        raise ProblemError(UNKNOWN_REQUEST)
    return found


_ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
add_hot_route(router, _PATH, requests, PAGING, RequestPage, "privacy")
add_hot_route(router, f"{_PATH}/{{number}}", one_request, (), RequestState, "privacy")
add_hot_route(
    router, f"{_PATH}/{{number}}/file", copy_of_data, (), None, "privacy",
    response_class=Response, responses={200: {"content": _ZIP}},
)  # fmt: skip
