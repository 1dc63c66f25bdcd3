"""Lists, items of the catalogue and slots of a page over HTTP: every endpoint that answers with items."""

from html.parser import HTMLParser

import httpx
import orjson
import pytest

from serving.answers.catalogue_search import CatalogueQuery
from serving.answers.protocol import Answer, Filters, ListRequest, RankedItem, RankRequest, Visitor
from serving.api.endpoints.items import CatalogueItems
from serving.api.endpoints.slots import fragment
from serving.api.replies.document import BatchedLists, RecommendationList
from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import of, of_device

pytestmark = pytest.mark.anyio
EVIL = '</li><script>alert(\'x\')</script>" onmouseover="alert(1)" & <b>'


def read(answer: httpx.Response) -> RecommendationList:
    assert answer.status_code == 200, answer.text
    return RecommendationList.model_validate_json(answer.content, strict=True)


async def test_a_user_gets_the_placements_list_with_its_origin_and_all_parameters_reach_the_service(shop: Shop) -> None:
    found = read(await shop.client.get("/v1/users/7/recommendations"))
    assert (found.placement, found.model_version, found.batch_id, found.source) == ("home", 3, 12, "cache")
    assert [item.rank for item in found.items] == list(range(1, 21))
    assert shop.answers.requests == [ListRequest("home", Visitor(of("7")), 20)]
    query = (
        "placement=email&k=3&offset=6&session=s%201&context=a&context=b%2Fc&category=A%7CB&brand=X+Y"
        "&lowest_price=1.5&highest_price=9&exclude=q&exclude=r"
    )
    read(await shop.client.get(f"/v1/users/7/recommendations?{query}"))
    filters = Filters(("A|B",), ("X Y",), 1.5, 9.0, ("q", "r"))
    assert shop.answers.requests[1:] == [
        ListRequest("email", Visitor(of("7"), of_device("s 1")), 3, 6, ("a", "b/c"), filters)
    ]


@pytest.mark.parametrize("start", ["users/a%2Fb/recommendations?k=20&category=a%26b", "items?q=title&k=20"])
async def test_pages_follow_each_other_without_gaps(shop: Shop, start: str) -> None:
    seen: list[str] = []
    path: str | None = f"/v1/{start}"
    while path:
        answer = await shop.client.get(path)
        seen += [item["item_id"] for item in answer.json()["items"]]
        path = answer.json()["next"]
        assert answer.headers.get("link") == (f'<{path}>; rel="next"' if path else None)
    assert seen == [f"item-{number}" for number in range(1, 51)]
    assert {request.visitor for request in shop.answers.requests} <= {Visitor(of("a/b"))}


async def test_each_answer_is_logged_as_it_was_shown(shop: Shop) -> None:
    answer = read(await shop.client.get("/v1/users/7/recommendations?k=2&offset=4&session=s&consent=true"))
    (shown,) = shop.events.shown
    assert shown.recommendation_id == answer.recommendation_id
    assert (shown.items, shown.first_position) == (("item-5", "item-6"), 5)
    assert (shown.user_key, shown.session_key, shown.consent) == (of("7"), of_device("s"), True)
    assert (shown.batch_id, shown.model_version, shown.source, shown.placement) == (12, 3, "cache", "home")


async def test_a_visitor_is_known_by_session_and_context_and_after_a_refusal_by_nothing(shop: Shop) -> None:
    read(await shop.client.get("/v1/recommendations?session=s&context=x"))
    assert shop.answers.requests == [ListRequest("home", Visitor(None, of_device("s")), 20, 0, ("x",))]
    read(await shop.client.get("/v1/users/7/recommendations?session=s&consent=false"))
    assert shop.answers.requests[1:] == [ListRequest("home", Visitor(), 20)]
    assert (shop.events.shown[1].user_key, shop.events.shown[1].consent) == (None, False)


@pytest.mark.parametrize(("kind", "placement"), [("similar", "similar-items"), ("goes-with", "goes-well-with")])
async def test_lists_about_an_item_use_the_placement_for_them(shop: Shop, kind: str, placement: str) -> None:
    read(await shop.client.get(f"/v1/items/a%2Fb/{kind}?user=7&k=4"))
    assert shop.answers.about == [("a/b",)]
    assert shop.answers.requests == [ListRequest(placement, Visitor(of("7")), 4)]


async def test_a_basket_gets_what_goes_with_all_of_it(shop: Shop) -> None:
    body = {"items": ["a", "b"], "user": "7", "k": 4, "filters": {"brands": ["X"], "highest_price": 9}}
    read(await shop.client.post("/v1/baskets/goes-with", json=body))
    assert shop.answers.about == [("a", "b")]
    wanted = ListRequest("goes-well-with", Visitor(of("7")), 4, filters=Filters((), ("X",), None, 9))
    assert shop.answers.requests == [wanted]


async def test_given_items_are_ranked_once_each(shop: Shop) -> None:
    found = read(await shop.client.post("/v1/rank", json={"items": ["b", "a", "b"], "user": "7", "context": ["c"]}))
    assert [item.item_id for item in found.items] == ["a", "b"]
    assert shop.answers.requests == [RankRequest("home", Visitor(of("7")), ("b", "a"), ("c",))]


@pytest.mark.parametrize("path", ["popular", "trending", "new"])
async def test_lists_for_everybody_are_logged_without_a_person(shop: Shop, path: str) -> None:
    read(await shop.client.get(f"/v1/{path}?k=3&category=X"))
    assert shop.answers.requests == [ListRequest("home", Visitor(), 3, filters=Filters(("X",)))]
    assert shop.events.shown[0].user_key is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("recommendations", {"users": ["7", "8"], "k": 2}),
        ("similar", {"items": ["7", "8"], "k": 2}),
        ("goes-with", {"items": ["7", "8"], "k": 2}),
    ],
)
async def test_many_lists_come_in_the_order_of_the_request(shop: Shop, path: str, body: dict[str, object]) -> None:
    answer = await shop.client.post(f"/v1/batch/{path}", json=body)
    found = BatchedLists.model_validate_json(answer.content, strict=True).lists
    assert [one.id for one in found] == ["7", "8"]
    assert len({one.recommendation_id for one in found}) == len(shop.events.shown) == 2


async def test_an_unknown_placement_is_named_with_the_known_ones(shop: Shop) -> None:
    answer = await shop.client.get("/v1/users/7/recommendations?placement=hom")
    assert answer.status_code == 404
    assert "there are buy-again, email, goes-well-with, home, similar-items" in answer.json()["detail"]
    other = await shop.client.get("/v1/users/7/recommendations?placement=similar-items")
    assert (other.status_code, "/v1/items/{item}/similar" in other.text) == (422, True)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("k=201", "k"),
        ("k=%D9%A1", "k"),
        ("k=1&k=2", "k"),
        ("kk=1", "kk"),
        ("lowest_price=NaN", "lowest_price"),
        ("lowest_price=2&highest_price=1", "highest_price"),
        ("placement=../x", "placement"),
        ("consent=yes", "consent"),
        ("session=%ff", "query"),
        ("&".join(f"context={number}" for number in range(51)), "context"),
    ],
)
async def test_a_refused_parameter_is_named_with_what_is_allowed(shop: Shop, query: str, place: str) -> None:
    answer = await shop.client.get(f"/v1/users/7/recommendations?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert place in [fault["place"] for fault in answer.json()["faults"]]
    assert shop.answers.requests == []


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
    assert (found.items[0].price, found.items[0].price_paid, found.items[0].currency_paid) == (None, 2.5, "EUR")
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
