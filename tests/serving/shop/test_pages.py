"""The pages of the storefront over HTTP, which keep foreign sites, scripts and words out."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from serving.answers.protocol import Answer, ListRequest, Source
from serving.http.safe_pages import POLICY
from serving.shop.visits import COOKIE
from tests.serving.shop.conftest import ORDER, Storefront, bought, shown, titles

FROM_SHELF = "/products/item-3?list=0f8fad5bd9cb469fa16570867728950e&placement=home&position=3"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
PAGES = ("/", "/products/item-1", "/search?q=milk", "/basket", "/sign-in", "/privacy")


def test_the_first_page_has_shelves_with_reasons_and_their_origin(storefront: Storefront) -> None:
    text = storefront.get()
    assert titles(text) == ["Recommended to everybody", "Popular at the moment", "Best sellers"]
    assert shown(text)[:3] == ["item-1", "item-2", "item-3"]
    assert "Bought by many" in text
    assert text.count("Why am I seeing this?") == 3
    assert sorted(shown(text)) == sorted(f"item-{number}" for number in range(1, 31)), "no product twice"
    assert "with version 3 of its model" in text
    assert "It depends on no person." in text


def test_before_an_agreement_nothing_personal_leaves_the_shop(storefront: Storefront) -> None:
    storefront.get()
    storefront.post("/sign-in", household="1")
    storefront.get(FROM_SHELF)
    storefront.post("/basket/add", pick="1 item-1")
    storefront.post("/basket/buy", order=ORDER)
    storefront.post("/not-interested", pick="1 item-2")
    storefront.get()
    assert storefront.stated() == []
    assert storefront.events.messages == []
    for query in storefront.network.queries():
        assert not query.keys() & {"user", "session"}
        assert query.get("consent", "false") == "false"


def test_after_an_agreement_acts_reach_the_collector_with_the_list_that_caused_them(storefront: Storefront) -> None:
    storefront.agree()
    storefront.get(FROM_SHELF)
    storefront.get(FROM_SHELF)  # loaded again
    listed = {"list": "0f8fad5bd9cb469fa16570867728950e", "placement": "home"}
    storefront.post("/basket/add", pick="3 item-3", **listed)
    storefront.post("/basket/add", pick="0 item-9")
    storefront.post("/basket/buy", order=ORDER)
    stated = storefront.stated()
    assert [one.get("event") for one in stated] == [
        *(None, "Product Clicked", "Product Viewed", "Product Clicked", "Product Viewed"),
        *("Product Added", "Product Added", "Order Completed"),
    ]
    clicks = [one for one in storefront.events.messages if one.payload.get("event") == "Product Clicked"]
    assert len({one.message_id for one in clicks}) == 1
    origin = {"recommendation_id": listed["list"], "placement": "home", "position": 3}
    assert stated[1]["properties"] == {"product_id": "item-3", **origin}
    assert stated[5]["properties"] == {"product_id": "item-3", **origin}
    order = stated[7]["properties"]
    assert order["order_id"] == ORDER
    assert order["products"] == [
        {"product_id": "item-3", "quantity": 1, "price": 2.5, "currency": "EUR", "recommendation_id": listed["list"]},
        {"product_id": "item-9", "quantity": 1, "price": 2.5, "currency": "EUR"},
    ]
    assert {one.session_key for one in storefront.events.messages} == {clicks[0].session_key}


def test_personal_shelves_name_the_household_and_the_browser(storefront: Storefront) -> None:
    storefront.agree()
    assert titles(storefront.get())[0] == "For you"
    storefront.post("/sign-in", household="7/ä")
    storefront.network.requests.clear()
    text = storefront.get()
    assert titles(text)[:2] == ["For you", "Buy it again"]
    again = text.partition("Buy it again</h2>")[2].partition("<h2")[0]
    assert shown(again) == [f"item-{number}" for number in range(1, 11)], "no other shelf takes its products"
    assert "what your household bought" in text
    own = [query for query in storefront.network.queries() if query["path"] == "/v1/slots/home"]
    assert [query["user"] for query in own] == ["7/ä"]
    assert own[0]["session"]
    assert len(storefront.stated()) == 2
    identified = storefront.events.messages[-1]
    assert (identified.user_id, identified.consent) == ("7/ä", None)


@pytest.mark.parametrize("source", ["popular", "cache", "last_good"])
def test_best_sellers_are_not_called_personal_after_an_agreement(storefront: Storefront, source: Source) -> None:
    made = storefront.answers.recommend

    async def best_sellers(request: ListRequest) -> Answer:
        return replace(await made(request), source=source, batch_id=None)

    storefront.answers.recommend = best_sellers  # type: ignore[method-assign]
    storefront.agree()
    storefront.post("/sign-in", household="1")
    text = storefront.get()
    assert titles(text) == ["Recommended to everybody", "Popular at the moment", "Best sellers"]
    assert "what your household bought" not in text


def offer_variants(storefront: Storefront, number: Callable[[Any], int]) -> None:
    """Give pairs of items, by a number of each, the same title."""
    made = storefront.answers.recommend

    async def of_variants(request: ListRequest) -> Answer:
        found = await made(request)
        named = [item._replace(title=f"Title {number(item) // 2}") for item in found.items]
        return replace(found, items_json=orjson.dumps([item._asdict() for item in named]))

    storefront.answers.recommend = of_variants  # type: ignore[method-assign]


@pytest.mark.parametrize("path", ["/", "/products/item-40", "/basket"])
def test_a_page_shows_each_title_once(storefront: Storefront, path: str) -> None:
    offer_variants(storefront, lambda item: int(item.item_id[5:]))
    storefront.agree()
    storefront.post("/sign-in", household="1")
    storefront.post("/basket/add", pick="0 item-50")
    text = storefront.get(path)
    named = re.findall(r'<span class="title">(Title \d+)</span>', text)
    assert len(named) >= 5
    assert len(named) == len(set(named))


def test_a_second_browser_of_a_household_takes_back_no_refusal_of_the_first(storefront: Storefront) -> None:
    storefront.agree()  # before it is known who this is
    storefront.post("/sign-in", household="1")
    storefront.get()
    storefront.get(FROM_SHELF)
    storefront.post("/basket/add", pick="1 item-1")
    storefront.post("/basket/buy", order=ORDER)
    storefront.post("/not-interested", pick="1 item-2")
    storefront.stated()
    answer, *later = storefront.events.messages
    assert (answer.user_key, answer.consent) == (None, True)
    assert {one.kind for one in later} == {"call", "event"}
    assert {one.consent for one in later} == {None}
    assert {one.consent for one in storefront.events.shown if one.user_key} == {None}


def test_a_withdrawal_counts_on_the_next_page_and_in_the_recommender(storefront: Storefront) -> None:
    storefront.agree()
    storefront.post("/sign-in", household="1")
    storefront.post("/privacy", answer="no")
    storefront.stated()
    refusals = storefront.events.messages[-2:]
    assert [(one.session_key is not None, one.user_key is not None) for one in refusals] == [
        (True, False),
        (False, True),
    ]
    assert [one.consent for one in refusals] == [False, False]
    storefront.network.requests.clear()
    assert titles(storefront.get())[0] == "Recommended to everybody"
    assert not any(query.keys() & {"user", "session"} for query in storefront.network.queries())


def test_a_withdrawal_while_the_recommender_is_down_states_that_it_follows(storefront: Storefront) -> None:
    storefront.agree()
    state = storefront.browser.app.state  # type: ignore[attr-defined]
    state.parts = replace(state.parts, config=replace(storefront.config, budget_seconds=0.1))
    storefront.network.is_down = True
    storefront.post("/privacy", answer="no")
    assert "it gets your refusal as soon as it does" in storefront.get("/privacy")
    storefront.network.is_down = False
    storefront.stated()
    assert storefront.events.messages[-1].consent is False


def test_a_page_that_is_read_slowly_undoes_nothing_of_another_tab(storefront: Storefront) -> None:
    storefront.agree()
    storefront.post("/basket/add", pick="1 item-1")
    slow = storefront.browser.get("/basket")  # shows a message
    assert "It is in your basket." in slow.text
    assert "It is in your basket." not in storefront.get("/basket")  # a message is shown once
    assert COOKIE not in {one.partition("=")[0] for one in slow.headers.get_list("set-cookie")}


def test_two_clicks_on_buy_are_one_order_and_a_later_basket_is_another(storefront: Storefront) -> None:
    storefront.agree()
    storefront.post("/basket/add", pick="1 item-1")
    numbers = []
    for _ in range(2):
        found = re.search(r'name="order" value="([0-9a-f]{16})"', storefront.get("/basket"))
        assert found
        numbers.append(found[1])
    before = storefront.browser.cookies[COOKIE]
    storefront.post("/basket/buy", order=numbers[0])
    storefront.browser.cookies.set(COOKIE, before, domain="testserver.local")
    storefront.post("/basket/buy", order=numbers[0])
    storefront.post("/basket/add", pick="1 item-1")
    storefront.post("/basket/buy", order=numbers[1])
    storefront.stated()
    orders = [one.message_id for one in storefront.events.messages if one.payload.get("event") == "Order Completed"]
    assert [orders.index(one) for one in orders] == [0, 0, 2]
    assert storefront.post("/basket/buy", order="<b>").status_code == 400


def test_a_product_is_viewed_once_if_it_is_put_into_the_basket_from_its_page(storefront: Storefront) -> None:
    storefront.agree()
    storefront.get(FROM_SHELF)
    storefront.post("/basket/add", pick="3 item-3", back=FROM_SHELF)
    before = len(storefront.stated())
    storefront.get(FROM_SHELF)
    assert len(storefront.stated()) == before


def test_after_a_sign_out_the_next_person_is_asked_about_personal_shelves(storefront: Storefront) -> None:
    storefront.agree()
    storefront.post("/sign-in", household="1")
    storefront.post("/sign-out")
    storefront.network.requests.clear()
    text = storefront.get()
    assert "May this shop use your clicks and purchases" in text
    assert titles(text)[0] == "Recommended to everybody"
    storefront.get(FROM_SHELF)
    assert not any(query.keys() & {"user", "session"} for query in storefront.network.queries())
    assert len(storefront.stated()) == 2


def test_a_household_gets_a_copy_of_its_data_and_another_one_in_the_same_browser_does_not(
    storefront: Storefront,
) -> None:
    assert storefront.post("/privacy/copy").status_code == 403
    storefront.post("/sign-in", household="1")
    storefront.get("/privacy/my-data.zip", 404)
    storefront.post("/privacy/copy")
    assert "Download the data of household 1" in storefront.get("/privacy")
    copy = storefront.browser.get("/privacy/my-data.zip")
    assert (copy.content, copy.headers["cache-control"]) == (b"PK", "private, no-store")
    storefront.post("/sign-in", household="2")
    assert "Download the data" not in storefront.get("/privacy")
    storefront.get("/privacy/my-data.zip", 404)


def test_an_erasure_leaves_a_stranger_and_an_outage_erases_nobody(storefront: Storefront) -> None:
    storefront.agree()
    assert storefront.post("/privacy/erase").status_code == 403
    storefront.post("/sign-in", household="1")
    storefront.post("/basket/add", pick="1 item-1")
    assert "Yes, erase household 1" in storefront.get("/privacy")
    storefront.network.is_down = True
    assert storefront.post("/privacy/erase").status_code == 503
    storefront.network.is_down = False
    answer = storefront.post("/privacy/erase")
    assert "Your household is erased" in answer.text
    assert COOKIE not in storefront.browser.cookies
    asked = [request for request in storefront.network.requests if request.url.path == "/v1/privacy/requests"]
    assert orjson.loads(asked[-1].content) == {"kind": "erase", "user_ids": ["1"], "reason": "asked in the shop"}
    text = storefront.get("/basket")
    assert ("Household 1" in text, "Your basket is empty" in text) == (False, True)


def test_similar_products_of_one_title_are_shown_once(storefront: Storefront) -> None:
    storefront.offer(*(f"item-{number}" for number in range(1, 21)))
    offer_variants(storefront, lambda item: item.rank)
    page = storefront.get("/products/item-30")
    similar = page.partition("Similar products</h2>")[2]
    assert shown(similar) == [f"item-{number}" for number in range(10, 21, 2)]
    assert re.findall(r"position=(\d+)", similar)[:3] == ["10", "12", "14"]
    assert re.findall(r'href="(/search[^"]+)">(\d+) more', similar)[0] == ("/search?q=Title+5", "1")
    assert similar.count(" more<") == 5
    together = page.partition("Goes well with it</h2>")[2].partition("Similar products</h2>")[0]
    assert shown(together) == ["item-1", *(f"item-{number}" for number in range(2, 9, 2))]


def test_a_search_lists_products_and_leads_to_the_next_page(storefront: Storefront) -> None:
    text = storefront.get("/search?q=milk%00%0a&category=FOOD|TEA")
    assert len(shown(text)) == 24
    assert 'value="milk"' in text
    assert storefront.answers.searches[-1].filters.categories == ("FOOD|TEA",)
    assert len(shown(storefront.get("/search?q=milk&offset=24"))) == 24
    assert shown(storefront.get("/search?q=milk&offset=48")) == ["item-49", "item-50"]
    assert "More products" not in storefront.get("/search?q=milk&offset=48")


def test_a_bundle_puts_all_its_products_into_the_basket(storefront: Storefront) -> None:
    page = storefront.get("/products/item-9")
    bundle = re.search(r'name="pick" value="([^"]+)">Add all 3', page)
    assert bundle
    storefront.post("/basket/add", pick=bundle[1].replace("\n", "\r\n"))
    assert bought(storefront.get("/basket")) == ["item-9", "item-1", "item-2"]
    assert storefront.answers.about[-1] == ("item-9", "item-1", "item-2")
    storefront.post("/basket/change", item="item-1", number="1", remove="yes")
    assert bought(storefront.get("/basket")) == ["item-9", "item-2"]


def test_while_the_api_is_down_the_last_good_shelves_stay_and_the_page_states_it(storefront: Storefront) -> None:
    before = shown(storefront.get())
    storefront.get("/products/item-1")
    storefront.agree()
    storefront.network.is_down = True
    text = storefront.get()
    assert shown(text) == before
    assert "The recommender does not answer" in text
    storefront.post("/not-interested", pick="1 item-1")
    assert "item-1" not in shown(storefront.get())
    assert "Title of item-1" in storefront.get("/products/item-1")
    assert "Try again" in storefront.get("/products/item-40", 503)
    assert "does not answer" in storefront.get("/search?q=milk", 503)
    storefront.post("/basket/add", pick="1 item-40")
    assert "Product item-40" in storefront.get("/basket")


def test_a_slow_shelf_is_left_out_and_the_others_are_shown(
    storefront: Storefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    storefront.agree()
    storefront.post("/sign-in", household="1")
    monkeypatch.setattr(storefront.browser.app.state.parts.api, "_budget", 0.5)  # type: ignore[attr-defined]
    storefront.network.slow_paths = ("/v1/slots/buy-again",)
    text = storefront.get()
    assert titles(text) == ["For you", "Popular at the moment", "Best sellers"]
    assert "Some shelves are older, or missing." in text


def test_an_installation_without_a_placement_has_no_shelf_for_it(storefront: Storefront) -> None:
    storefront.offer()
    text = storefront.get()
    assert "There are no shelves at the moment" in text
    assert "does not answer" not in text


@pytest.mark.parametrize("path", [*PAGES, "/no such page", "/static/shop.css", "/static/none"])
def test_every_answer_keeps_foreign_content_out(storefront: Storefront, path: str) -> None:
    answer = storefront.browser.get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    if path != "/static/shop.css":
        assert "no-store" in answer.headers["cache-control"]
        assert not re.search(r"<script|<style| style=| on\w+=|(?:src|href|action)=\"(?!/|#)", answer.text)


def test_a_browser_that_names_another_host_is_refused(storefront: Storefront) -> None:
    assert storefront.browser.get("/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/basket/add",
        "/basket/change",
        "/not-interested",
        "/privacy",
        "/sign-in",
        "/sign-out",
        "/basket/buy",
        "/privacy/copy",
        "/privacy/erase",
    ],
)
def test_a_form_of_another_site_changes_nothing(storefront: Storefront, path: str) -> None:
    storefront.post("/sign-in", household="1")
    fields = {"pick": "1 item-1", "answer": "yes", "household": "1", "order": ORDER, "item": "item-1", "number": "2"}
    before = storefront.browser.cookies[COOKIE]
    forged = [
        storefront.browser.post(path, data=fields),
        storefront.browser.post(path, data=fields | {"token": "0" * 64}),
        storefront.browser.post(path, json=fields),
    ]
    assert [answer.status_code for answer in forged] == [403, 403, 415]
    for origin in ("http://evil.example", "null", "http://["):
        storefront.browser.headers["origin"] = origin
        assert storefront.post(path, **fields).status_code == 403
    assert storefront.browser.cookies[COOKIE] == before
    storefront.browser.headers["origin"] = str(storefront.browser.base_url).rstrip("/")
    assert storefront.post(path, **fields).status_code in (200, 303)


def test_a_form_of_another_site_does_not_replace_the_visit(storefront: Storefront) -> None:
    storefront.post("/basket/add", pick="1 item-1")
    visit = storefront.browser.cookies[COOKIE]
    storefront.browser.cookies.clear()  # browsers send it with no form of another site
    forged = storefront.browser.post("/basket/add", data={"pick": "1 item-1"}, headers={"sec-fetch-site": "cross-site"})
    assert (forged.status_code, forged.headers.get_list("set-cookie")) == (403, [])
    storefront.browser.cookies.set(COOKIE, visit)
    assert "Title of item-1" in storefront.get("/basket")


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(storefront: Storefront) -> None:
    (cookie,) = storefront.browser.get("/").headers.get_list("set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age" not in cookie
    storefront.browser.cookies.set(COOKIE, "of another shop")
    (cookie,) = storefront.browser.get("/").headers.get_list("set-cookie")
    assert cookie.startswith(COOKIE)


def test_a_link_of_another_site_is_no_click_on_a_shelf(storefront: Storefront) -> None:
    storefront.agree()
    storefront.browser.get(FROM_SHELF, headers={"sec-fetch-site": "cross-site"})
    assert [one.get("event") for one in storefront.stated()] == [None, "Product Viewed"]


def test_a_form_returns_to_a_product_whatever_its_id_is_and_only_to_this_shop(storefront: Storefront) -> None:
    page = "/products/5%2525%20%C3%A4?list=a%26b"
    assert f'name="back" value="{page}"' in storefront.get(page)
    assert storefront.post("/basket/add", pick="1 item-1", back=page).headers["location"] == page
    for back in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
        assert storefront.post("/basket/add", pick="1 item-1", back=back).headers["location"] == "/"


def test_hostile_titles_and_searches_are_text(storefront: Storefront) -> None:
    storefront.offer(HOSTILE, "item-2")
    for path in ("/", "/search?q=" + HOSTILE.replace("#", ""), "/products/item-2?list=<b>&placement=x&position=1"):
        text = storefront.get(path)
        assert "<img" not in text.replace('<img src="/static', "")
        assert "<script" not in text
        assert "49" not in re.sub(r"[0-9a-f]{32,}", "", text)
    storefront.post("/basket/add", pick=f"1 {HOSTILE}")
    assert "&lt;script&gt;" in storefront.get("/basket")


@pytest.mark.parametrize(("path", "status"), [("/products/" + "x" * 257, 404), ("/nothing", 404), ("/basket/add", 405)])
def test_a_missing_page_is_answered_with_a_page_of_its_own(storefront: Storefront, path: str, status: int) -> None:
    assert "To the first page" in storefront.get(path, status)


def test_a_defect_has_a_page_without_details_and_as_safe_as_others(
    storefront: Storefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.shop.pages.home_shelves", lambda _: [None])
    answer = storefront.browser.get("/")
    assert answer.status_code == 500
    assert "This is a defect of the shop." in answer.text
    assert "NoneType" not in answer.text
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["content-security-policy"] == POLICY
