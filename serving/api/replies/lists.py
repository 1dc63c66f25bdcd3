"""Writes answers: lists as JSON, which are logged as shown, and receipts for what callers state."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from models.columns import ITEM_ID
from models.ingest import placeholder_ids
from serving.answers.protocol import Answer, ListRequest, Visitor
from serving.api.requests import problems
from serving.api.requests.problems import Fault, Problem, ProblemError, RefusedRequestError
from serving.api.requests.values import DEEPEST, MOST_ITEMS, ListQuery, QueryParser, random_id
from serving.api.state import Call, Headers, Kind, Reply, State, kind_of
from serving.events.impressions import ShownAnswer
from serving.events.message import Message, RefusedMessageError
from serving.events.spool import SpoolFullError

_USED_BY: Final[dict[Kind, str]] = {
    "user": "/v1/users/{user}/recommendations",
    "similarity": "/v1/items/{item}/similar",
    "co_purchase": "/v1/items/{item}/goes-with",
}
Answered = tuple[Answer, Visitor]
Ask = Callable[[ListRequest], Awaitable[Answer]]


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
        raise problems.unknown_placement(sorted(state.placements))
    if kind_of(placement) != kind:
        detail = f"Its lists are for another path: {_USED_BY[kind_of(placement)]}."
        raise RefusedRequestError([Fault("placement", detail)])
    return given


async def listed(call: Call, parser: QueryParser, kind: Kind, ask: Ask, path: str, user: str | None = None) -> Reply:
    """Return the list that a request asks for, of the user of the path or of the parameters."""
    query = parser.parse(call.query)
    request = list_request(call.state, query, user or query.user, kind)
    return list_reply(call, await ask(request), request, query, path)


def list_reply(call: Call, answer: Answer, request: ListRequest, query: ListQuery, path: str) -> Reply:
    """Return an answer with the link to its next page. `path` is a template with `{}` for the id."""
    shown_as = shown(call, answer, request.visitor, query.consent, query.offset)
    if len(answer.item_ids) < request.k:
        return Reply(body(answer, shown_as))
    target, headers = next_page(path.format(quote(call.value, safe="")), query, query.offset + request.k)
    return Reply(body(answer, shown_as, target), headers=headers)


def next_page(path: str, query: ListQuery, following: int) -> tuple[str | None, Headers]:
    """Return the address of the page that begins there, with its header; None if that is too deep."""
    if following > DEEPEST:
        return None, ()
    target = f"{path}?{query.rest}{'&' if query.rest else ''}offset={following}"
    return target, ((b"link", f'<{target}>; rel="next"'.encode()),)


def body(answer: Answer, shown_as: str, following: str | None = None) -> bytes:
    """Return an answer as JSON. Its items were serialised once for all requests."""
    degraded = "true" if answer.degraded else "false"
    link = "null" if following is None else f'"{following}"'  # percent-encoded, so that nothing is to be escaped
    variant = "" if answer.variant is None else f'"variant":"{answer.variant}",'
    start = (
        f'{{"recommendation_id":"{shown_as}","placement":"{answer.placement}",'
        f'"model_version":{_number(answer.model_version)},"batch_id":{_number(answer.batch_id)},'
        f'"source":"{answer.source}","degraded":{degraded},"next":{link},{variant}"items":'
    )
    return b"%b%b}" % (start.encode(), answer.items_json)


def shown(call: Call, answer: Answer, seen_by: Visitor, consent: bool | None, offset: int = 0) -> str:
    """Log an answer; return its recommendation id."""
    name = random_id()
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
            answer.variant,
            consent=consent,
        )
    )
    return name


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


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


_ACCEPTED = 202
_WORDS = frozenset(placeholder_ids.ITEMS)
_NO_ITEM = "The item's id is a word for no item. Send the id that your catalogue has."


async def accepted(call: Call, *messages: Message, many: bool = False, adds: bool = False) -> Reply:
    """Return the receipt when the messages are durable. Raises ProblemError.

    Without `adds` they may be about known items alone: an act on another item would not count.
    """
    items: list[str] = [one.payload.get(ITEM_ID, "") for one in messages]
    answers = call.state.parts.answers
    products = list(map(answers.product, items))
    faults: list[Fault] = []
    for place, (message, item, product) in enumerate(zip(messages, items, products, strict=True)):
        if item in _WORDS:
            faults.append(Fault(f"message {place}", _NO_ITEM))
        elif product != item and message.kind == "item":  # an act on a variant counts for its item
            faults.append(
                Fault(f"message {place}", f"The id is that of a variant. State values of its item {product}.")
            )
    if faults:
        raise RefusedRequestError(faults)
    if not adds and (unknown := await answers.unknown_items(set(products) - {""})):
        raise ProblemError(problems.unknown_items(at for at, item in enumerate(products) if item in unknown))
    if call.bucket is not None:
        call.bucket.charge(len(messages) - 1)
    try:
        receipts = await call.state.parts.events.write(*messages)
    except RefusedMessageError as error:
        raise RefusedRequestError([Fault("body", str(error))]) from None
    except SpoolFullError:
        raise ProblemError(_NO_ROOM) from None
    if "conflict" in receipts:
        detail = "Another message has this message_id. Repeat a message without changes, or give it an id of its own."
        raise ProblemError(Problem(409, "message-id-used", detail))
    stated = [
        {"message_id": message.message_id, "status": receipt}
        for message, receipt in zip(messages, receipts, strict=True)
    ]
    return Reply(orjson.dumps({"messages": stated} if many else stated[0]), _ACCEPTED)


_NO_ROOM = Problem(
    503, "no-room", "The message could not be made durable. Send it again later.", headers={"retry-after": "5"}
)
