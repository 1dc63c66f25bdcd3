"""Broken files and hostile names on their way through the command line and Prefect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.configuration.settings import Settings
from infra.services import endpoints
from infra.services.http_client import basic_auth, request_json
from models.primitives.json_types import JsonObject
from tests.flows.test_demo import dumps, readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Shop
    from playwright.sync_api import BrowserContext, Page

SIGN = "kanarie"
MAPPING = """
consent = "given"
consent_note = "a test"
unknown_items = "accept"

[events]
file = "*.csv"
user_id = "who"
item_id = "what"
occurred_at = "at"
value = "worth"
constants = { event_type = "view" }
"""
NAME = "<img src=x onerror='window.owned=1'> ![](x.png) [x](javascript:alert(1)) `a` | {{ 7 * 7 }}\x1b[2J.csv"


def rows(last: str = "1.5") -> str:
    return "".join(f"{SIGN}-{n}@mail.example,t{n},2024-01-03 10:00:00,{last}\n" for n in range(30))


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    (tmp_path / "hostile.toml").write_text(MAPPING)
    return str(tmp_path / "hostile.toml")


HEADERS = {"none": "", "own": "who,what,at,worth\n", "shifted": "what,who,worth,at\n"}


def test_broken_files_leave_no_id_in_prefect_logs_pages_or_tables(shop: Shop, tmp_path: Path, mapping: str) -> None:
    everything = []
    for name, header in HEADERS.items():
        (tmp_path / f"{name}.csv").write_text(header + rows(f"{SIGN}-worth"))
        printed = shop.run("ingest", mapping, str(tmp_path / f"{name}.csv"), code=1)
        assert f"{name}.csv" in printed
        everything.append((f"the terminal for {name}.csv", printed))
    paths = [path for path in shop.var.rglob("*") if path.is_file() and "postgres" not in path.parts]
    everything += [("databases", dumps(shop)), *((str(path), readable(path)) for path in paths)]
    for name in HEADERS:
        assert any(f"{name}.csv" in text for place, text in everything if place == "databases"), "the search is blind"
    assert [place for place, text in everything if SIGN in text] == []


@pytest.fixture
def browser_page(signed_in_browser: BrowserContext) -> Iterator[Page]:
    """Return a window of a browser that has signed in to Prefect."""
    page = signed_in_browser.new_page()
    yield page
    page.close()


def test_prefect_shows_the_name_of_a_file_as_text(shop: Shop, tmp_path: Path, mapping: str, browser_page: Page) -> None:
    (tmp_path / NAME).write_text("who,what,at,worth\n" + rows())
    printed = shop.run("ingest", mapping, str(tmp_path / NAME))
    assert "\x1b[2J" not in printed
    services = endpoints.endpoints(Settings(var=shop.var))
    headers = {"Authorization": basic_auth(str(services.prefect_login))}
    query: JsonObject = {"artifacts": {"key": {"any_": ["ledger"]}}, "sort": "CREATED_DESC", "limit": 1}
    [artifact] = request_json("POST", f"{services.prefect_api_url}/artifacts/filter", headers, query)
    requests: list[str] = []
    browser_page.on("request", lambda request: requests.append(request.url))
    browser_page.goto(f"{services.prefect_page}/artifacts/artifact/{artifact['id']}")
    browser_page.get_by_text("javascript:alert(1)").first.wait_for()
    shown = str(browser_page.evaluate("document.body.innerText"))
    browser_page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert NAME.replace("\x1b", r"\x1b") in " ".join(shown.split())
    assert browser_page.locator("img[src='x'], img[src='x.png'], a[href^='javascript:']").count() == 0
    assert browser_page.evaluate("window.owned") is None
    assert not [url for url in requests if url.endswith(("/x", "x.png"))]
