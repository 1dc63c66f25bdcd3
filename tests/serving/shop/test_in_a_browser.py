"""A browser in the storefront: before the real API with its database, as in the demo."""

import html
import json
import re
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sqlalchemy import text
from uvicorn import Config, Server

from infra.database.experiment_rows import add_experiment, begin_experiment
from infra.keys.api_keys import Scope
from infra.keys.credentials import secret
from infra.keys.recorded_api_keys import NewKey, create_key
from infra.services.database_access.logins import OPERATOR_PAGE
from infra.services.embedded_postgres import EmbeddedPostgres
from models.experiments.definition import own_placement, parse_experiment
from serving.shop.app import shop_app
from serving.shop.config import ShopConfig
from tasks.experiments.read_experiment import read_experiment
from tasks.privacy.erase_users import erase_users
from tasks.privacy.export_user import store_exports
from tests.conftest import fresh_database
from tests.installations import chosen
from tests.published import published, shelf
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.ingest.inbox.collecting import Collecting, collecting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""Chromium without a window calls itself a robot, whose clicks do not count."""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
HOUSEHOLD = "17"
AGREED = """
    INSERT INTO users (user_key, attributes, consent, consent_source, batch_id)
    VALUES (:key, '{}', true, 'test', 'b')"""
AGAIN = [(item, 0.9, "You bought this on 9 days") for item in ("i01", "i02", "i03")]
OWN = [("i05", 0.9, "You bought this on 9 days"), ("i06", 0.8, "You bought this on 8 days"), ("i07", 0.7, "x")]
HOSTILE = "<script>window.owned = 1</script>\"'><img src=http://evil.example/x onerror='window.owned = 1'>"
SECONDS = 20.0
"""The time for everything else, on a busy machine."""
PROMISED_SECONDS = 5.0
"""The time in which shelves follow a click: a promise of the product."""
FOR_EVERYBODY = "Recommended to everybody"


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    folder = tmp_path_factory.mktemp("shop")
    with (
        contextmanager(fresh_database)(postgres, "migrated") as url,
        chosen(url, folder / "var") as here,
        collecting(here, folder, stock=stock) as made,
    ):
        yield made


def stock(api: Api) -> None:
    """Give the items titles, and a household its lists."""
    household = api.key(HOUSEHOLD)
    with api.here.engine.begin() as connection:
        connection.execute(text("UPDATE items SET title = 'Item ' || item_id, category = 'SHOP|FRUIT'"))
        connection.execute(text("UPDATE items SET title = :title WHERE item_id = 'i06'"), {"title": HOSTILE})
        connection.execute(text(AGREED), {"key": household})
    published(api.here.engine, {household: OWN}, shelf(k=3))
    published(api.here.engine, {household: AGAIN}, shelf("again", "buy-again", k=3))


@dataclass(frozen=True)
class Shop:
    """The address of the shop, and the collector behind it."""

    address: str
    api: Collecting


@pytest.fixture(scope="module")
def shop(api: Collecting) -> Iterator[Shop]:
    engine = api.api.here.engine
    scopes: dict[str, list[Scope]] = {"s": ["read", "write", "privacy"], "c": ["collect"]}
    made = (create_key(engine, NewKey(name, wanted, kind="server"), "ann") for name, wanted in scopes.items())
    keys = (str(one["key"]) for one in made)
    config = ShopConfig(api.server.address, *keys, b"secret", (HOUSEHOLD,), budget_seconds=5.0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = Server(Config(shop_app(config), log_level="warning", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        until(lambda: server.started, 30)
        yield Shop(f"http://127.0.0.1:{listening.getsockname()[1]}", api)
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A window of a browser, with all that it asked for and complained about."""

    shop: Shop
    page: Page
    hosts: set[str]
    complaints: list[str]

    def open(self, path: str = "/") -> None:
        self.page.goto(f"{self.shop.address}{path}")

    def manage(self, path: str = "") -> None:
        """Open a page of operators, of the API behind the shop."""
        self.page.goto(f"{self.shop.api.server.address}/operator{path}")

    def press(self, name: str, exact: bool = True) -> None:
        """Press a button, and wait for the page after it."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name, exact=exact).first.click()

    def shelves(self) -> dict[str, list[str]]:
        """Return the items of each shelf of the page."""
        found: dict[str, list[str]] = self.page.evaluate(
            "() => Object.fromEntries([...document.querySelectorAll('.shelf')].map(shelf => ["
            "shelf.querySelector('h2').innerText, [...shelf.querySelectorAll('li')].map(one => one.dataset.item)]))"
        )
        return found

    def reloaded(self) -> dict[str, list[str]]:
        """Return the shelves of the first page, after it was loaded again."""
        self.open()
        return self.shelves()

    def click_on(self, item: str) -> None:
        """Follow the link of an item on a shelf."""
        with self.page.expect_navigation():
            self.page.locator(f".shelf li[data-item={item}] a").first.click()

    def faults(self) -> list[str]:
        """Return what axe finds against WCAG 2.2 A and AA."""
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = Axe().run(self.page, options={"runOnly": {"type": "tag", "values": tags}})
        return [f"{self.page.url} {one['id']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]


@pytest.fixture
def visitor(shop: Shop, chromium: Browser) -> Iterator[Visitor]:
    context = chromium.new_context(user_agent=AGENT, viewport=WIDE)  # type: ignore[arg-type]
    visitor = _visitor(shop, context)
    yield visitor
    assert visitor.hosts <= {urlsplit(address).netloc for address in (shop.address, shop.api.server.address)}
    assert [one for one in visitor.complaints if "Failed to load resource" not in one] == []
    context.close()


def _visitor(shop: Shop, context: BrowserContext) -> Visitor:
    page, hosts, complaints = context.new_page(), set[str](), list[str]()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: complaints.append(message.text))
    page.set_default_timeout(20_000)
    return Visitor(shop, page, hosts, complaints)


def until(holds: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def test_shelves_follow_the_clicks_the_sign_in_and_the_choices_of_a_visitor(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open()
    assert page.context.cookies()[0]["expires"] == -1
    general = visitor.shelves()
    assert next(iter(general)) == FOR_EVERYBODY
    visitor.press("Yes, I agree")
    assert "For you" not in visitor.shelves(), "nothing is known yet"
    before = visitor.shelves()[FOR_EVERYBODY]

    first, second = before[0], before[1]
    visitor.click_on(first)
    assert page.get_by_role("heading", level=1).inner_text() == f"Item {first}"
    visitor.open()
    visitor.click_on(second)

    def changed() -> bool:
        visitor.open()
        reasons = page.locator(".shelf").first.locator(".reason").all_inner_texts()
        return visitor.shelves().get("For you", before) != before and any(f"Item {second}" in one for one in reasons)

    until(changed, PROMISED_SECONDS)
    page.get_by_text("Why am I seeing this?").first.click()
    assert page.get_by_text("It depends on what you clicked in this browser").is_visible()

    page.get_by_role("link", name="Sign in").click()
    visitor.press(f"Household {HOUSEHOLD}")
    assert page.get_by_role("heading", level=1).inner_text() == f"Welcome, household {HOUSEHOLD}"
    until(lambda: visitor.reloaded().get("Buy it again") == ["i01", "i02", "i03"])

    hidden = visitor.shelves()["For you"][0]
    with page.expect_navigation():
        page.locator(f".shelf li[data-item={hidden}]").first.get_by_role("button", name="Not interested").click()
    for path in ("/", f"/products/{first}", f"/products/{second}"):
        visitor.open(path)
        shown = visitor.shelves()
        assert shown, path
        assert not [title for title, items in shown.items() if hidden in items]
    rows = visitor.shop.api.api.rows("SELECT value FROM exclusions WHERE kind = 'item'")
    assert [row.value for row in rows] == [hidden]

    visitor.open("/privacy")
    visitor.press("Withdraw my consent")
    visitor.open()
    impersonal = visitor.shelves()
    assert impersonal.keys() == general.keys()
    everything = [item for items in impersonal.values() for item in items]
    assert len(everything) == len(set(everything))
    assert impersonal[FOR_EVERYBODY][:9] == [item for item in general[FOR_EVERYBODY] if item != hidden][:9]
    assert "You bought" not in page.inner_text("main")
    inbox = visitor.shop.api.api
    stored = "SELECT consent FROM users WHERE user_key = :key"
    until(lambda: [row.consent for row in inbox.rows(stored, key=inbox.key(HOUSEHOLD))] == [False])


def test_a_household_reads_why_gets_its_data_erases_them_and_is_a_stranger(visitor: Visitor, tmp_path: Path) -> None:
    page, here = visitor.page, visitor.shop.api.api.here
    household = "18"
    key = visitor.shop.api.api.key(household)
    with here.engine.begin() as connection:
        connection.execute(text(AGREED), {"key": key})
    lists = {visitor.shop.api.api.key(HOUSEHOLD): OWN, key: [*OWN[1:], ("i09", 0.6, "x")]}
    published(here.engine, lists, shelf("mine", k=3))
    visitor.open()
    visitor.press("Yes, I agree")
    visitor.open("/sign-in")
    page.get_by_label("Another household").fill(household)
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in").last.click()
    until(lambda: "i07" in visitor.reloaded().get("For you", []))
    page.get_by_text("Why am I seeing this?").first.click()
    assert page.get_by_text("It depends on what your household bought").is_visible()

    visitor.open("/privacy")
    visitor.press("Make a copy of my data")
    assert "Your copy is being made" in page.get_by_role("status").inner_text()
    store_exports(here)
    visitor.open("/privacy")
    assert visitor.faults() == []
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the data").click()
    waiting.value.save_as(tmp_path / "mine.zip")
    with zipfile.ZipFile(tmp_path / "mine.zip") as mine:
        assert [row["item_id"] for row in json.loads(mine.read("lists.json"))] == ["i06", "i07", "i09"]

    visitor.open("/privacy")
    page.get_by_text("Erase the data of household").click()
    assert visitor.faults() == []
    visitor.press(f"Yes, erase household {household}")
    assert page.get_by_role("heading", level=1).inner_text() == "Your household is erased"
    assert visitor.faults() == []
    assert page.context.cookies() == []
    visitor.open()
    assert "For you" not in visitor.shelves()
    assert page.get_by_role("region", name="Personal shelves").is_visible(), "a stranger is asked"
    assert page.get_by_role("link", name="Sign in").is_visible()
    erase_users(here)
    rows = visitor.shop.api.api.rows(
        "SELECT consent FROM users WHERE user_key = :key AND erased_at > now() - interval '1 minute'", key=key
    )
    assert [*rows] == [(False,)]


def test_every_page_passes_axe_and_a_basket_is_bought_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.page
    faults = []
    for path in ("/", "/products/i03", "/search?q=item", "/sign-in", "/privacy", "/basket", "/nothing"):
        visitor.open(path)
        faults += visitor.faults()
    visitor.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the products"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    faults += visitor.faults()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.firstChild.data") == "Details"
    page.keyboard.press("Enter")
    assert page.get_by_text("Recommendation", exact=True).first.is_visible()
    faults += visitor.faults()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Space")
    assert page.get_by_role("status").inner_text() == "It is in your basket."
    visitor.open("/basket")
    faults += visitor.faults()
    assert list(visitor.shelves()) == ["Goes well with your basket"]
    page.get_by_role("spinbutton", name="Quantity of").fill("3")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.get_by_role("status").inner_text() == "The quantity is changed."
    assert page.get_by_role("link", name="Basket 3 products").is_visible()
    page.get_by_role("button", name="Buy (demo)").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "This is a demo" in page.get_by_role("status").inner_text()
    assert faults == []


def test_on_a_phone_every_page_fits_and_passes_axe(shop: Shop, chromium: Browser) -> None:
    context = chromium.new_context(viewport=PHONE, user_agent=AGENT)  # type: ignore[arg-type]
    phone = _visitor(shop, context)
    phone.open("/products/i03")
    phone.press("Add to the basket")
    for path in ("/", "/products/i03", "/search?q=item", "/search?q=none", "/basket"):
        phone.open(path)
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert phone.faults() == []
    context.close()


def test_a_hostile_title_is_text_and_runs_nothing(visitor: Visitor) -> None:
    for path in ("/products/i06", "/search?q=script", "/products/i05"):
        visitor.open(path)
        assert visitor.page.evaluate("window.owned") is None
        assert visitor.page.locator("img:not([src^='/static/']), script").count() == 0
    visitor.open("/products/i06")
    assert visitor.page.get_by_role("heading", level=1).inner_text() == HOSTILE


def sign_in(visitor: Visitor, name: str = "Ann") -> None:
    """Open the first page of operators."""
    visitor.open("/operator")  # of the shop, which leads to the API
    visitor.page.get_by_label("Your name").fill(name)
    visitor.page.get_by_label("Password").fill(secret(visitor.shop.api.api.here.settings, OPERATOR_PAGE))
    visitor.press("Sign in")


def previewed(page: Page, title: str) -> list[str]:
    """Return the items of a list of the preview."""
    rows = page.get_by_role("region", name=title).locator("li")
    return [str(row.get_attribute("data-item")) for row in rows.all()]


EARNED = """
    INSERT INTO recommendation_weeks (week, placement, impressions, clicks, baskets, purchases, value, revenue,
        currency, users, click_through, low, high)
    SELECT date_trunc('week', now())::date - 7 * week, place, 21400 - 700 * week, 610 - 31 * week, 92 - 5 * week,
        48 - 3 * week, 1284.5 - 96 * week, 10250 - 300 * week, 'USD', 4100, rate, rate * 0.93, rate * 1.07
    FROM generate_series(0, 9) AS week, unnest(ARRAY['', 'home', 'again']) AS place,
        LATERAL (SELECT (610.0 - 31 * week) / (21400 - 700 * week) AS rate) AS shown"""


def test_the_pages_of_operators_fit_a_narrow_phone_and_a_wide_screen_and_pass_axe(visitor: Visitor) -> None:
    with visitor.shop.api.api.here.engine.begin() as connection:
        connection.execute(text(EARNED))
    sign_in(visitor)
    page, found = visitor.page, []
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for path in ("", "/reports", "/history", "/placements/home", "/placements/similar-items"):
            visitor.manage(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, path)
            found += visitor.faults()
    visitor.manage()
    assert page.get_by_role("heading", level=2).first.inner_text() == "What recommendations earned"
    assert page.get_by_role("img", name="Value by week").is_visible()
    page.get_by_text("All weeks of home").click()
    assert page.get_by_role("region", name="All weeks of home").locator("tbody tr").count() == 10
    found += visitor.faults()
    assert found == []


def test_an_operator_previews_a_pin_saves_it_sees_it_in_the_shop_and_undoes_it(visitor: Visitor) -> None:
    page, faults = visitor.page, visitor.faults
    visitor.manage("/sign-in")
    found = faults()
    sign_in(visitor)
    found += faults()
    assert page.get_by_role("heading", name="Placements").is_visible()
    page.get_by_role("link", name="home", exact=True).first.click()
    page.get_by_label("Find a product").fill("item i08")
    visitor.press("Find")
    page.get_by_label("Item i08").check()
    page.get_by_label("Place (for a pin)").fill("2000")
    visitor.press("Add to the draft")
    assert "A place is a whole number" in page.inner_text("main")
    page.get_by_label("Place (for a pin)").fill("1")
    page.get_by_label("User, by the id").fill(HOUSEHOLD)
    visitor.press("Add to the draft")
    page.get_by_label("Why the rules change").fill(HOSTILE)
    visitor.press("Preview")
    assert page.get_by_label("User, by the id").input_value() == HOUSEHOLD
    before, after = (previewed(page, f"Under the {name}") for name in ("current rules", "draft"))
    others = [item for item in before if item != "i08"]
    assert before[0] != "i08"
    assert after == ["i08", *others][: len(after)]
    draft = page.get_by_role("region", name="Under the draft")
    assert draft.locator(".change").all_inner_texts() == ["pinned to place 1"]
    assert draft.locator(".shift").count() > 1
    found += faults()
    assert _visitor(visitor.shop, page.context).reloaded()[FOR_EVERYBODY][0] != "i08"
    assert page.get_by_label("Why the rules change").input_value() == HOSTILE
    visitor.press("Save")
    assert "Version 1 of the rules is stored" in page.get_by_role("status").inner_text()
    assert page.get_by_role("cell", name="Pin “Item i08” (item i08) to place 1", exact=True).is_visible()
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    found += faults()
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    until(lambda: visitor.reloaded()[FOR_EVERYBODY][0] == "i08")

    visitor.manage("/placements/home")
    page.get_by_label("Find a product").fill("item i08")
    visitor.press("Find")
    page.get_by_label("Item i08").check()
    page.get_by_label("Rule", exact=True).select_option("hide-everywhere")
    visitor.press("Add to the draft")
    assert "The rule “Hide “Item i08”" in page.locator("#error-draft").inner_text()

    visitor.manage("/history")
    assert f"by Ann: {HOSTILE}" in page.inner_text("main")
    page.get_by_label("Why return to version 0").fill("too early")
    found += faults()
    visitor.press("Undo to version 0")
    assert "It is equal to version 0." in page.inner_text("main")
    until(lambda: visitor.reloaded()[FOR_EVERYBODY][0] != "i08")
    assert page.evaluate("window.owned") is None
    assert found == []


VISITORS = [f"visitor-{number}" for number in range(60)]
WATCHER = "watcher"
"""Waits for the start; who has a variant of their own does not take over that of a browser."""
RATES = {"personal": 0.1, "best": 0.6}
"""How often visitors click on a product of their first shelf."""
_SHELF = re.compile(r"<section.*?</section>", re.DOTALL)


@pytest.fixture
def experiment(shop: Shop) -> Iterator[str]:
    """Run an experiment in `home`: `best` shows other items than each visitor's own list."""
    here, key = shop.api.api.here, shop.api.api.key
    with here.engine.begin() as connection:
        connection.execute(text(AGREED), [{"key": key(name)} for name in (*VISITORS, WATCHER)])
    published(here.engine, {key(name): OWN for name in VISITORS}, shelf("own", k=3))
    form = {"placements": ["home"], "ends": (datetime.now(UTC) + timedelta(days=9)).date()}
    form["variants"] = {"personal": {}, "best": {"model": "best_sellers"}}
    with here.engine.begin() as connection:
        started = add_experiment(connection, parse_experiment("spring", form, {"home": {}}), "ann", {})
    best = [(item, 0.5, "Bought often") for item in ("i10", "i11", "i12")]
    lists = {key(name): best for name in VISITORS}
    published(here.engine, lists, shelf("spring", own_placement("home", "spring", "best"), k=3))
    with here.engine.begin() as connection:
        begin_experiment(connection, started.experiment_id)
    yield "spring"
    with here.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM experiments")
        connection.exec_driver_sql("DELETE FROM placements WHERE strpos(placement, '~') > 0")


class Customer:
    """A browser without a window, whose pages are read as text."""

    def __init__(self, shop: Shop) -> None:
        self.client = httpx.Client(base_url=shop.address, headers={"user-agent": AGENT}, follow_redirects=True)

    def press(self, path: str, **fields: str) -> None:
        (token, *_) = re.findall(r'name="token" value="([0-9a-f]+)"', self.client.get("/sign-in").text)
        assert self.client.post(path, data={"token": token, **fields}).status_code == 200

    def first_shelf(self) -> tuple[str, list[str]]:
        """Return the variant of the first shelf, empty without one, and the addresses of its products."""
        first = _SHELF.findall(self.client.get("/").text)[0]
        found = re.search(r"<dt>Variant</dt><dd>([^<]+)</dd>", first)
        return found[1] if found else "", [
            html.unescape(path) for path in re.findall(r'<a href="(/products/[^"]+)', first)
        ]


@pytest.mark.usefixtures("experiment")
def test_clicks_in_the_shop_name_the_better_variant_and_a_person_keeps_it(shop: Shop) -> None:
    random, variants, clicks = np.random.default_rng(7), dict[str, str](), 0
    until(lambda: variant_of(shop, WATCHER) != "")
    for name in VISITORS:
        customer = Customer(shop)
        customer.press("/privacy", answer="yes")
        before, _ = customer.first_shelf()
        customer.press("/sign-in", household=name)
        variants[name], paths = customer.first_shelf()
        assert variants[name] == before, "the person keeps the variant of the browser"
        assert paths[0].startswith("/products/i10?") == (variants[name] == "spring/best")
        for path in paths:
            if random.random() < RATES[variants[name].partition("/")[2]]:
                assert customer.client.get(path).status_code == 200
                clicks += 1
    api = shop.api.api
    clicked = "SELECT FROM event_inbox WHERE payload ->> 'event' = 'Product Clicked'"
    until(lambda: len(api.rows(clicked)) >= clicks)
    with shop.api.killed():
        pass
    assert {name: variant_of(shop, name) for name in VISITORS} == variants
    api.move()
    api.rows("UPDATE experiments SET started_at = now() - interval '8 days'")
    readout = read_experiment.fn("spring")
    assert readout["claims"]["best"].startswith("best changed clicks per impression by +")


def variant_of(shop: Shop, person: str) -> str:
    """Return the variant of a person in the API's answer; empty without one."""
    headers = {"Authorization": f"Bearer {shop.api.read_key}"}
    reply = httpx.get(f"{shop.api.server.address}/v1/users/{person}/recommendations", headers=headers)
    return str(reply.json().get("variant", ""))
