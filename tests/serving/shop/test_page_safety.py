"""Pages and forms of the storefront keep foreign sites, scripts and words out."""

import re

import pytest

from serving.http.safe_pages import POLICY
from serving.shop.visits import COOKIE
from tests.serving.shop.conftest import Storefront

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
PAGES = ("/", "/products/item-1", "/search?q=milk", "/basket", "/sign-in", "/privacy")
ORDER = "0123456789abcdef"
FROM_SHELF = "/products/item-3?list=0f8fad5bd9cb469fa16570867728950e&placement=home&position=3"


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


@pytest.mark.parametrize("path", ["/basket/add", "/not-interested", "/privacy", "/sign-in", "/sign-out", "/basket/buy"])
def test_a_form_of_another_site_changes_nothing(storefront: Storefront, path: str) -> None:
    storefront.get()
    fields = {"pick": "1 item-1", "answer": "yes", "household": "1", "order": ORDER}
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
    assert storefront.post(path, **fields).status_code == 303


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


def test_a_link_of_another_site_is_no_click_on_a_shelf(storefront: Storefront) -> None:
    storefront.agree()
    storefront.browser.get(FROM_SHELF, headers={"sec-fetch-site": "cross-site"})
    assert [one.get("event") for one in storefront.stated()] == [None, "Product Viewed"]


def test_a_browser_with_a_cookie_of_another_shop_gets_one_of_this(storefront: Storefront) -> None:
    storefront.browser.cookies.set(COOKIE, "of another shop")
    (cookie,) = storefront.browser.get("/").headers.get_list("set-cookie")
    assert cookie.startswith(COOKIE)


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_form_returns_only_to_this_shop(storefront: Storefront, back: str) -> None:
    assert storefront.post("/basket/add", pick="1 item-1", back=back).headers["location"] == "/"


def test_a_form_returns_to_the_product_whatever_its_id_is(storefront: Storefront) -> None:
    page = "/products/5%2525%20%C3%A4?list=a%26b"
    assert f'name="back" value="{page}"' in storefront.get(page)
    assert storefront.post("/basket/add", pick="1 item-1", back=page).headers["location"] == page


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
