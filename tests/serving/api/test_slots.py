"""Slots of a page: JSON and HTML."""

from html.parser import HTMLParser

import orjson
import pytest

from serving.answers.answer import Answer, RankedItem
from serving.api.endpoints.slots import fragment
from serving.api.replies.document import RecommendationList
from tests.serving.api.conftest import Shop

pytestmark = pytest.mark.anyio
EVIL = '</li><script>alert(\'x\')</script>" onmouseover="alert(1)" & <b>'


class Tags(HTMLParser):
    """The tags, attributes and texts of a fragment."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(fragment)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(**fields: object) -> Tags:
    values: dict[str, object] = {"item_id": "1", "rank": 1, "score": 1.0, "reason": ""} | fields
    item = RankedItem(**values)  # type: ignore[arg-type]
    return Tags(fragment(Answer((item.item_id,), "home", "table", items_json=orjson.dumps([item._asdict()])), "0f"))


async def test_texts_of_the_catalogue_are_never_markup() -> None:
    names = ("item_id", "title", "reason", "currency")
    found = shown(**dict.fromkeys(names, EVIL), price=2.5, url=f"https://x/?{EVIL}".replace(" ", ""), image="/a.png")
    assert set(found.tags) == {"ul", "li", "a", "img", "span"}
    assert {name for name, _ in found.attributes} == {
        *("class", "data-placement", "data-recommendation-id", "data-source", "data-item", "data-rank"),
        *("href", "src", "alt", "loading"),
    }
    assert ("data-item", EVIL) in found.attributes
    assert EVIL in found.texts


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x",
     "//evil.example", "\x01https://x", "vbscript:x", "https://[x"],
)  # fmt: skip
async def test_only_web_addresses_become_links(address: str) -> None:
    if address == "//evil.example":  # a link to another host of the same protocol is harmless and not a path
        assert "a" not in shown(url=address).tags
        return
    assert {"a", "img"}.isdisjoint(shown(url=address, image=address).tags)


async def test_banners_articles_and_products_become_links_with_what_they_have() -> None:
    banner = shown(url="/sale", image="https://cdn.example/b.png", title="Sale")
    assert banner.tags == ["ul", "li", "a", "img", "span"]
    assert "price" not in str(banner.attributes)
    assert "2.50 USD" in shown(price=2.5, currency="USD").texts
    assert shown().texts == ["1"]


async def test_a_slot_answers_in_both_forms(shop: Shop) -> None:
    whole = RecommendationList.model_validate_json((await shop.client.get("/v1/slots/email?user=7&k=2")).content)
    assert (whole.placement, whole.next) == ("email", "/v1/slots/email?user=7&k=2&offset=2")
    html = await shop.client.get("/v1/slots/email?user=7&k=2&format=html")
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    assert html.text.count("<li ") == 2
    assert shop.events.shown[1].recommendation_id in html.text


async def test_a_slot_about_items_needs_the_item_of_the_page(shop: Shop) -> None:
    assert (await shop.client.get("/v1/slots/similar-items")).json()["faults"][0]["place"] == "context"
    assert (await shop.client.get("/v1/slots/similar-items?context=a")).status_code == 200
    assert (await shop.client.get("/v1/slots/goes-well-with?context=a&context=b")).status_code == 200
    assert shop.answers.about == [("a",), ("a", "b")]
    assert (await shop.client.get("/v1/slots/nowhere")).status_code == 404
