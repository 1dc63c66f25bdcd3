"""Reads requests for lists from parameters, writes answers as JSON, and logs that they were shown."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from serving.answers.answer import Answer
from serving.answers.request import ListRequest, Visitor
from serving.api.gate.call import Call, Headers, Reply
from serving.api.requests.ids import recommendation_id
from serving.api.requests.list_query import DEEPEST, MOST_ITEMS, ListQuery
from serving.api.requests.problems import Fault, Problem, ProblemError, RefusedRequestError, unknown_placement
from serving.api.state import Kind, State, kind_of
from serving.events.impressions import ShownAnswer

_USED_BY: Final[dict[Kind, str]] = {
    "user": "/v1/users/{user}/recommendations",
    "similarity": "/v1/items/{item}/similar",
    "co_purchase": "/v1/items/{item}/goes-with",
}
Answered = tuple[Answer, Visitor]


def visitor(state: State, user: str | None, session: str | None, consent: bool | None) -> Visitor:
    """Return the visitor by pseudonyms; a visitor who refuses consent in the request is nobody."""
    if consent is False:
        return Visitor()
    pseudonyms = state.pseudonyms
    return Visitor(
        None if user is None else pseudonyms.of(user), None if session is None else pseudonyms.of_device(session)
    )


def list_request(state: State, query: ListQuery, user: str | None, kind: Kind) -> ListRequest:
    """Return the request. Raises ProblemError for an unknown or unsuitable placement."""
    name = placement_name(state, query.placement, kind)
    return ListRequest(
        name,
        visitor(state, user, query.session, query.consent),
        query.k or min(state.placements[name].k, MOST_ITEMS),
        query.offset,
        query.context,
        query.filters,
    )


def placement_name(state: State, given: str | None, kind: Kind) -> str:
    """Return the placement's name, or the default of the kind. Raises ProblemError."""
    if given is None:
        default = state.default_placements.get(kind)
        if default is None:
            detail = f"The installation has no placement for {_USED_BY[kind]}. Add one to its file of placements."
            raise ProblemError(Problem(404, "unknown-placement", detail))
        return default
    placement = state.placements.get(given)
    if placement is None:
        raise unknown_placement(sorted(state.placements))
    if kind_of(placement) != kind:
        detail = f"Its lists are for another path: {_USED_BY[kind_of(placement)]}."
        raise RefusedRequestError([Fault("placement", detail)])
    return given


def list_reply(call: Call, answer: Answer, seen_by: Visitor, query: ListQuery, k: int, path: str) -> Reply:
    """Return an answer with the link to its next page. `path` is a template with `{}` for the id."""
    shown_as = shown(call, answer, seen_by, query.consent, query.offset)
    following = query.offset + k
    if len(answer.item_ids) < k or following > DEEPEST:
        return Reply(body(answer, shown_as))
    target = f"{path.format(quote(call.value, safe=''))}?{query.rest}{'&' if query.rest else ''}offset={following}"
    headers: Headers = ((b"link", f'<{target}>; rel="next"'.encode()),)
    return Reply(body(answer, shown_as, target), headers=headers)


def body(answer: Answer, shown_as: str, following: str | None = None) -> bytes:
    """Return an answer as JSON. Its items were serialised once for all requests."""
    degraded = "true" if answer.degraded else "false"
    start = (
        f'{{"recommendation_id":"{shown_as}","placement":"{answer.placement}",'
        f'"model_version":{_number(answer.model_version)},"batch_id":{_number(answer.batch_id)},'
        f'"source":"{answer.source}","degraded":{degraded},"next":{_text(following)},"items":'
    )
    return b"%b%b}" % (start.encode(), answer.items_json)


def shown(call: Call, answer: Answer, seen_by: Visitor, consent: bool | None, offset: int = 0) -> str:
    """Log an answer; return its recommendation id."""
    name = recommendation_id()
    call.state.parts.impressions.log(
        ShownAnswer(
            name,
            answer.placement,
            answer.item_ids,
            answer.source,
            call.state.pseudonyms.key_version,
            seen_by.user_key,
            seen_by.session_key,
            offset + 1,
            answer.batch_id,
            answer.model_version,
            consent=consent,
        )
    )
    return name


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _text(link: str | None) -> str:
    """Return a percent-encoded link as JSON: it holds nothing to escape."""
    return "null" if link is None else f'"{link}"'


async def batched(call: Call, ids: Sequence[str], one: Callable[[str], Awaitable[Answered]]) -> Reply:
    """Return the lists of all ids. Each is an answer of its own, with a recommendation id of its own.

    For the rate of the key, each list counts as one request.
    """
    if call.bucket is not None:
        call.bucket.charge(len(ids) - 1)
    answers = await asyncio.gather(*(one(given) for given in ids))
    lists = (
        b'{"id":%b,%b' % (orjson.dumps(given), body(answer, shown(call, answer, seen_by, None))[1:])
        for given, (answer, seen_by) in zip(ids, answers, strict=True)
    )
    return Reply(b'{"lists":[%b]}' % b",".join(lists))
