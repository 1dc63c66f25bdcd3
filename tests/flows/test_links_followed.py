"""Every link that people are given leads a browser that is not signed in to the login, and then to the page itself."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from infra.configuration.settings import Settings
from infra.prefect_api.automation_definitions import alerts
from infra.registry.client import Registry
from infra.services import endpoints, prefect_pages
from infra.services.http_client import basic_auth, request_json

if TYPE_CHECKING:
    from conftest import Shop
    from playwright.sync_api import Browser, Page

    from infra.installation import Installation
    from infra.services.endpoints import Endpoints

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
_ADDRESS = re.compile(r"https?://[^\s()|\"'<>]+")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}")
_NUMBER = re.compile(r"[0-9a-f-]{8,}|[0-9]+")


def links_of(services: Endpoints) -> dict[str, str]:
    """Return one link of each kind in artifacts, MLflow's runs, alerts and events.

    A kind is the link without ids and numbers.
    """
    login = {"Authorization": basic_auth(str(services.prefect_login))}
    shown = request_json(
        "POST", f"{services.prefect_api_url}/artifacts/filter", login, {"sort": "CREATED_DESC", "limit": 200}
    )
    [run] = request_json(
        "POST", f"{services.prefect_api_url}/flow_runs/filter", login, {"sort": "END_TIME_DESC", "limit": 1}
    )
    bodies = [definition.body.replace("{{ flow_run.id }}", run["id"]) for definition in alerts(services.prefect_page)]
    texts = [str(artifact["data"]) for artifact in shown] + bodies
    texts += [prefect_pages.runs(services), prefect_pages.deployments(services), f"{services.prefect_page}/"]
    addresses = [address.rstrip(".,") for text in texts for address in _ADDRESS.findall(text)]
    return {_NUMBER.sub("1", address): address for address in addresses}


def follow_into_prefect(page: Page, address: str, login: str) -> None:
    """Sign in on the login page; the page of the link must follow."""
    page.goto(address)
    page.locator("input[type=password]").fill(login)
    page.keyboard.press("Enter")
    shown = "/v2/dashboard" if address.endswith("/") else address  # who names no page sees the first one
    page.wait_for_url(re.compile(f".*{re.escape(shown)}.*"))
    page.get_by_role("link", name="Deployments").first.wait_for()


def follow_with_login(browser: Browser, address: str, words: str, login: Any) -> None:
    """Sign in and wait for the page's text; the browser's own form asks for the login."""
    user, password = login
    answer = browser.new_context().request.get(address)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    context = browser.new_context(http_credentials={"username": user, "password": password})
    page = context.new_page()
    opened = page.goto(address)
    assert opened is not None
    assert opened.ok, address
    page.get_by_text(words).first.wait_for(timeout=60_000)
    context.close()


def words_of(services: Endpoints, address: str) -> str:
    """Return what the page of an address shows of its subject: a run's name, a version, a batch."""
    if address.startswith(services.docs_page) or address.endswith(".html"):
        return address.rstrip("/").rpartition("/")[2]
    if run := _ID.search(address):
        return Registry(services.mlflow_tracking_uri).run(run[0]).name
    return "Version " + address.rpartition("/")[2] if "/versions/" in address else "ndcg_at_10"


def follow_all(services: Endpoints, links: dict[str, str]) -> None:
    """Follow each link in a browser of its own."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for address in links.values():
            if address.startswith(services.prefect_page):
                page = browser.new_context().new_page()
                follow_into_prefect(page, address, str(services.prefect_login))
                page.context.close()
                continue
            login = (
                services.mlflow_login
                if address.startswith(services.mlflow_page)
                else str(services.docs_login).split(":")
            )
            follow_with_login(browser, address, words_of(services, address), login)
        browser.close()


@pytest.mark.usefixtures("live")
def test_every_link_asks_who_is_not_signed_in_and_then_shows_its_page(stocked: Shop, live: Installation) -> None:
    services = endpoints.endpoints(Settings(var=stocked.var))
    links = links_of(services) | {"experiment": Registry(live.endpoints.mlflow_tracking_uri).experiment_page()}
    assert any("/v2/runs/flow-run/" in link for link in links.values())
    assert any(link.startswith(services.docs_page) for link in links.values())
    old = f"{services.prefect_page}/runs"
    assert [link for link in links.values() if link.startswith(old)] == []
    follow_all(services, links)


def test_logins_work_on_each_page_as_they_are_printed(shop: Shop) -> None:
    lines = [line.strip() for line in shop.run("logins").splitlines()]
    at = {name: number for number, line in enumerate(lines) for name in ("Prefect", "MLflow", "Data Docs")
          if line.startswith(name)}  # fmt: skip
    address = {name: lines[number].split()[-1] for name, number in at.items()}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        follow_into_prefect(browser.new_page(), f"{address['Prefect']}/", lines[at["Prefect"] + 2])
        for name in ("MLflow", "Data Docs"):
            user, password = (line.partition(": ")[2] for line in lines[at[name] + 2 : at[name] + 4])
            signed_in = browser.new_context(http_credentials={"username": user, "password": password})
            assert signed_in.request.get(address[name]).ok
            assert not browser.new_context().request.get(address[name]).ok
        browser.close()
