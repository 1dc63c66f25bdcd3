"""Writes an answer as JSON, and logs that it was shown."""

from urllib.parse import quote

from serving.answers.answer import Answer
from serving.answers.request import Visitor
from serving.api.gate.call import Call, Headers, Reply
from serving.api.gate.request_ids import recommendation_id
from serving.api.requests.list_query import ListQuery
from serving.api.requests.parameters import DEEPEST
from serving.events.shown_answer import ShownAnswer


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
