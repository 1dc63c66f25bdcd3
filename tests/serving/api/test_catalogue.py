"""Items of the catalogue over HTTP."""

import pytest

from serving.answers.catalogue_search import CatalogueQuery
from serving.answers.request import Filters
from serving.api.endpoints.items import CatalogueItems
from tests.serving.api.conftest import Shop

pytestmark = pytest.mark.anyio


async def test_the_words_and_the_filters_of_a_search_reach_the_service(shop: Shop) -> None:
    answer = await shop.client.get("/v1/items?q=whole+milk&category=FOOD%7CTEA&k=3&offset=6")
    assert answer.status_code == 200, answer.text
    found = CatalogueItems.model_validate_json(answer.content, strict=True)
    assert [item.item_id for item in found.items] == ["item-7", "item-8", "item-9"]
    assert (found.items[0].title, found.items[0].category, found.items[0].brand) == (
        "Title of item-7",
        "FOOD|TEA",
        None,
    )
    assert shop.answers.searches == [CatalogueQuery(4, 6, "whole milk", (), Filters(("FOOD|TEA",)))]


async def test_named_items_come_in_the_given_order_on_one_page(shop: Shop) -> None:
    answer = await shop.client.get("/v1/items?item=b%2Fc&item=a&k=1")
    assert [item["item_id"] for item in answer.json()["items"]] == ["b/c", "a"]
    assert answer.json()["next"] is None


@pytest.mark.parametrize("query", ["q=", "q=%00", "q=a&q=b", "words=tea", "item=", "q=" + "a" * 257])
async def test_an_invalid_search_is_refused(shop: Shop, query: str) -> None:
    answer = await shop.client.get(f"/v1/items?{query}")
    assert answer.status_code == 422
    assert shop.answers.searches == []
