"""The endpoint of slots."""

from dataclasses import replace
from html import escape
from urllib.parse import urlsplit

from fastapi import APIRouter

from serving.answers.protocol import Answer, ListRequest, RankedItem
from serving.api.gate.routes import add_hot_route
from serving.api.replies.document import RecommendationList
from serving.api.replies.lists import list_reply, list_request, shown
from serving.api.requests.problems import Fault, RefusedRequestError, unknown_placement
from serving.api.requests.values import CONSENT, CONTEXT, FILTERS, FORMAT, PAGING, SESSION, USER, QueryParser
from serving.api.state import HTML, USERS, Call, Kind, Reply, kind_of

router = APIRouter(tags=["slots"])
_PARAMETERS = (FORMAT, *PAGING, USER, SESSION, CONSENT, CONTEXT, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)


async def slot(call: Call) -> Reply:
    """Return the items of a placement for a page: products, articles or banners.

    With `format=html` the answer is a list of links for a CMS, in which all texts are escaped. A placement about items
    needs the item of the page as `context`.
    """
    query = _PARSER.parse(call.query)
    placement = call.state.placements.get(call.value)
    if placement is None:
        raise unknown_placement(sorted(call.state.placements))
    kind = kind_of(placement)
    request = list_request(call.state, replace(query, placement=call.value), query.user, kind)
    answer = await _answer(call, request, kind)
    if query.format == "html":
        name = shown(call, answer, request.visitor, query.consent, query.offset)
        return Reply(fragment(answer, name).encode(), media_type=HTML)
    return list_reply(call, answer, request, query, "/v1/slots/{}")


async def _answer(call: Call, request: ListRequest, kind: Kind) -> Answer:
    answers = call.state.parts.answers
    if kind == USERS:
        return await answers.recommend(request)
    if not request.context:
        raise RefusedRequestError([Fault("context", "The placement is about items: give the item of the page.")])
    if kind == "similarity":
        return await answers.similar(request.context[-1], request)
    return await answers.goes_with(request.context, request)


_HTML_ANSWER = {
    200: {
        "content": {
            "text/html": {
                "schema": {"type": "string"},
                "example": '<ul class="tailorbird-slot" data-placement="home" data-recommendation-id="0f8f">'
                '<li data-item="995242" data-rank="1"><a href="https://shop.example/995242">'
                '<span class="title">Fluid milk white only</span></a></li></ul>',
            }
        }
    }
}
add_hot_route(router, "/v1/slots/{placement}", slot, _PARAMETERS, RecommendationList, responses=_HTML_ANSWER)


def fragment(answer: Answer, shown_as: str) -> str:
    """Return a list of links for a CMS. Every text of the catalogue is data and never markup.

    Its classes are for the style sheet of the page; it has no style and no script.
    """
    items = "".join(map(_item, answer.items))
    return (
        f'<ul class="tailorbird-slot" data-placement="{escape(answer.placement)}" '
        f'data-recommendation-id="{escape(shown_as)}" data-source="{answer.source}">{items}</ul>'
    )


def _item(item: RankedItem) -> str:
    title = escape(item.title or item.item_id)
    image = f'<img src="{escape(item.image)}" alt="" loading="lazy">' if _is_web(item.image) and item.image else ""
    inside = f'{image}<span class="title">{title}</span>{_price(item)}'
    if item.url and _is_web(item.url):
        inside = f'<a href="{escape(item.url)}">{inside}</a>'
    reason = f'<span class="reason">{escape(item.reason)}</span>' if item.reason else ""
    return f'<li data-item="{escape(item.item_id)}" data-rank="{item.rank}">{inside}{reason}</li>'


def _price(item: RankedItem) -> str:
    if item.price is None:
        return ""
    return f'<span class="price">{item.price:.2f}{f" {escape(item.currency)}" if item.currency else ""}</span>'


def _is_web(address: str | None) -> bool:
    """Return whether a page may link to the address: http, https or a path, and no script."""
    if not address or any(ord(letter) <= ord(" ") for letter in address):
        return False
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") if parts.scheme or parts.netloc else address.startswith("/")
