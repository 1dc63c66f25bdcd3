"""Cards of products with pictures and prices, shelves that are filled or left out, and quantities in the basket."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from serving.answers.catalogue_search import CatalogueQuery, FoundItem
from serving.shop.looks import drawn
from tests.serving.shop.conftest import ORDER, Storefront, bought, shown, titles


def picture() -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "image/jpeg"}, content=b"tea")


def know(storefront: Storefront, **values: Any) -> None:
    """Let the catalogue know these values of every item."""
    made = storefront.answers.find

    async def of_items(query: CatalogueQuery) -> tuple[FoundItem, ...]:
        return tuple(replace(one, item=one.item._replace(**values)) for one in await made(query))

    storefront.answers.find = of_items  # type: ignore[method-assign]


def test_a_search_that_finds_nothing_shows_best_sellers(storefront: Storefront) -> None:
    assert titles(storefront.get("/search?q=milk")) == []
    made = storefront.answers.find

    async def nothing(query: CatalogueQuery) -> tuple[FoundItem, ...]:
        return await made(query) if query.items else ()

    storefront.answers.find = nothing  # type: ignore[method-assign]
    text = storefront.get("/search?q=milk")
    assert "Nothing was found." in text
    assert titles(text) == ["Best sellers"]
    assert len(shown(text)) == 10


@pytest.mark.parametrize(("number", "shelves"), [(2, []), (3, ["Recommended to everybody"])])
def test_a_shelf_of_fewer_than_three_products_is_left_out(
    storefront: Storefront, number: int, shelves: list[str]
) -> None:
    storefront.offer(*(f"item-{place}" for place in range(number)))
    assert titles(storefront.get())[:1] == shelves


@pytest.mark.parametrize(
    ("known", "price"),
    [
        ({"price": 4.0, "currency": "USD"}, "$4.00"),
        ({}, "€2.50"),
        ({"price_paid": None}, None),
        ({"price": 0.0, "currency": "USD"}, "$0.00"),
    ],
)
def test_cards_show_the_price_of_the_catalogue_or_else_the_usual_one(
    storefront: Storefront, known: dict[str, Any], price: str | None
) -> None:
    know(storefront, **known)
    for path in ("/", "/search?q=milk", "/products/item-1"):
        found = re.findall(r'<span class="price">([^<]+)<', storefront.get(path))
        assert set(found) == ({price} if price else set()), path
    is_usual = "price" not in known and price is not None
    assert ("what customers usually pay" in storefront.get("/products/item-1")) == is_usual


def test_products_without_a_picture_have_the_icon_of_their_category(storefront: Storefront) -> None:
    know(storefront, category="FOOD|FLUID MILK")
    text = storefront.get()
    assert text.count("<svg") == len(shown(text)) == 30
    assert text.count(drawn("milk")) == 30


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ("/media/tea.jpg", "/media/tea.jpg"),
        ("https://cdn.example/tea.jpg", "/pictures/item-1"),
        ("//evil.example/x", None),
        ("https://evil.example/x", None),
        ("https://evil.example?cdn.example", None),
        ("https://cdn.example@evil.example/x", None),
        ("https://[", None),
        ("javascript:alert(1)", None),
    ],
)
def test_pictures_come_from_the_host_of_the_shop_alone(storefront: Storefront, image: str, source: str | None) -> None:
    know(storefront, image=image)
    for path in ("/", "/search?q=milk", "/products/item-1"):
        text = storefront.get(path)
        assert "evil.example" not in text
        found = re.findall(r'<img class="picture" src="([^"]+)" alt=""', text)
        assert found[:1] == ([source] if source else []), path


def test_the_shop_fetches_the_pictures_of_its_hosts_without_its_key(storefront: Storefront) -> None:
    know(storefront, image="https://cdn.example/tea.jpg")
    storefront.get("/pictures/item-1", 404)  # no page has shown it
    storefront.get()
    storefront.network.pictures["https://cdn.example/tea.jpg"] = picture()
    answer = storefront.browser.get("/pictures/item-1")
    assert (answer.content, answer.headers["content-type"]) == (b"tea", "image/jpeg")
    assert "max-age" in answer.headers["cache-control"]
    assert "set-cookie" not in answer.headers
    assert "authorization" not in storefront.network.requests[-1].headers
    storefront.network.is_down = True
    storefront.get("/pictures/item-1", 404)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, headers={"content-type": "image/svg+xml"}, content=b"<svg/>"),
        httpx.Response(200, headers={"content-type": "text/html"}, content=b"<b>"),
        httpx.Response(200, content=b"tea"),
        httpx.Response(302, headers={"content-type": "image/png", "location": "http://127.0.0.1/x"}),
        httpx.Response(404, headers={"content-type": "image/png"}),
    ],
)
def test_a_file_that_is_no_picture_is_not_passed_on(storefront: Storefront, answer: httpx.Response) -> None:
    know(storefront, image="https://cdn.example/tea.jpg")
    storefront.network.pictures["https://cdn.example/tea.jpg"] = answer
    storefront.get()
    assert "private" in storefront.browser.get("/pictures/item-1").headers["cache-control"]
    assert "To the first page" in storefront.get("/pictures/item-1", 404)


def test_the_basket_changes_quantities_and_shows_the_total(storefront: Storefront) -> None:
    storefront.post("/basket/add", pick="0 item-1\n0 item-2")
    storefront.post("/basket/change", item="item-1", number="3")
    storefront.post("/basket/change", item="item-7", number="3")  # it is not in the basket
    text = storefront.get("/basket")
    assert bought(text) == ["item-1", "item-2"]
    assert re.findall(r'type="number" name="number" value="(\d+)"', text) == ["3", "1"]
    assert 'Total <span class="price">€10.00</span>' in text
    for number in ("", "x", "-1", "100", "1.5", "²"):
        assert storefront.post("/basket/change", item="item-1", number=number).status_code == 400
    storefront.post("/basket/change", item="item-1", number="0")
    assert bought(storefront.get("/basket")) == ["item-2"]
    know(storefront, price_paid=None)
    assert "Total" not in storefront.get("/basket")


def test_an_order_states_the_quantities_and_the_prices_and_a_removal_is_stated_once(storefront: Storefront) -> None:
    storefront.agree()
    storefront.post("/basket/add", pick="0 item-1\n0 item-2")
    storefront.post("/basket/change", item="item-1", number="4")
    for _ in range(2):
        storefront.post("/basket/change", item="item-2", number="1", remove="yes")
    storefront.post("/basket/buy", order=ORDER)
    stated = storefront.stated()
    assert [one.get("event") for one in stated][3:] == ["Product Removed", "Order Completed"]
    line = {"product_id": "item-1", "quantity": 4, "price": 2.5, "currency": "EUR"}
    assert stated[-1]["properties"]["products"] == [line]
