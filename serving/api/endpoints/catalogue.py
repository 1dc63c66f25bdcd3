"""The endpoint that looks up and finds items of the catalogue."""

from typing import Final

import orjson
from fastapi import APIRouter

from serving.answers.catalogue_search import CatalogueQuery, FoundItem
from serving.api.endpoints.items import CatalogueItems
from serving.api.gate.call import Call, Headers, Reply
from serving.api.gate.routes import add_hot_route
from serving.api.requests.list_query import DEEPEST, FILTERS, ITEM, PAGING, WORDS, QueryParser

router = APIRouter(tags=["items"])
_PARAMETERS = (WORDS, ITEM, *PAGING, *FILTERS)
_PARSER = QueryParser(_PARAMETERS)
_PATH: Final = "/v1/items"
_PAGE: Final = 20


async def find_items(call: Call) -> Reply:
    """Return items of the catalogue: best sellers first, or those that `item` names, in this order.

    Named items are returned even if they cannot be bought now; unknown ones are left out. Other items can be bought,
    and the beginning of each word of `q` occurs in their titles, without regard to case and accents.
    """
    query = _PARSER.parse(call.query)
    k = query.k or _PAGE
    wanted = CatalogueQuery(k + 1, query.offset, query.q or "", query.items, query.filters)
    found = await call.state.parts.answers.find(wanted)
    following = query.offset + k
    if query.items or len(found) <= k or following > DEEPEST:
        return Reply(_body(found if query.items else found[:k], None))
    target = f"{_PATH}?{query.rest}{'&' if query.rest else ''}offset={following}"
    headers: Headers = ((b"link", f'<{target}>; rel="next"'.encode()),)
    return Reply(_body(found[:k], target), headers=headers)


def _body(found: tuple[FoundItem, ...], following: str | None) -> bytes:
    return orjson.dumps({"next": following, "items": [_stated(one) for one in found]})


def _stated(found: FoundItem) -> dict[str, object]:
    item = found.item
    return {
        "item_id": item.item_id,
        "title": item.title,
        "url": item.url,
        "image": item.image,
        "price": item.price,
        "currency": item.currency,
        "category": item.category or None,
        "brand": item.brand or None,
        "available": found.available,
    }


add_hot_route(router, _PATH, find_items, _PARAMETERS, CatalogueItems)
