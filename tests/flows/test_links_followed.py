"""Every link that people are given leads a browser that is not signed in to the login, and then to the page itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from infra.configuration.settings import Settings
from infra.prefect_api.automations import alerts
from infra.registry.client import Registry
from infra.services import endpoints
from infra.services.http_client import basic_auth, request_json

if TYPE_CHECKING:
    from conftest import Shop
    from playwright.sync_api import APIRequestContext, Browser, BrowserContext, Page

    from infra.installation import Installation
    from infra.services.endpoints import Endpoints

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
    texts += [services.runs_page, services.deployments_page, f"{services.prefect_page}/"]
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


def follow_with_login(page: Page, address: str, words: str) -> None:
    """Open a page for which the browser's own form asks for the login, and wait for its text."""
    page.goto("about:blank")  # a link to another part of the same page would load nothing
    opened = page.goto(address)
    assert opened is not None
    assert opened.ok, address
    page.get_by_text(words).first.wait_for(timeout=60_000)


def refused(stranger: APIRequestContext, address: str) -> bool:
    """Return whether the server asks a program without a login for one."""
    answer = stranger.get(address)
    return answer.status == 401 and answer.headers["www-authenticate"].startswith("Basic")


def words_of(services: Endpoints, address: str) -> str:
    """Return what the page of an address shows of its subject: a run's name, a version, a batch."""
    if address.startswith(services.docs_page) or address.endswith(".html"):
        return address.rstrip("/").rpartition("/")[2]
    if run := _ID.search(address):
        return Registry(services.mlflow_tracking_uri).run(run[0]).name
    return "Version " + address.rpartition("/")[2] if "/versions/" in address else "ndcg_at_10"


def with_login(browser: Browser, login: Any) -> BrowserContext:
    """Return windows of a person who types this user and password when a server asks for them."""
    user, password = login
    return browser.new_context(http_credentials={"username": user, "password": password})


@pytest.fixture
def stranger(browser: Browser) -> APIRequestContext:
    """Return a client that has no login."""
    return browser.new_context().request


@pytest.mark.usefixtures("live")
def test_every_link_asks_who_is_not_signed_in_and_then_shows_its_page(
    stocked: Shop, live: Installation, browser: Browser, stranger: APIRequestContext
) -> None:
    services = endpoints.endpoints(Settings(var=stocked.var))
    links = links_of(services) | {"experiment": Registry(live.endpoints.mlflow_tracking_uri).experiment_page()}
    assert any("/v2/runs/flow-run/" in link for link in links.values())
    assert any(link.startswith(services.docs_page) for link in links.values())
    old = f"{services.prefect_page}/runs"
    assert [link for link in links.values() if link.startswith(old)] == []
    # One window for each server keeps what it has loaded: the pages are large programs.
    prefect, mlflow = browser.new_page(), with_login(browser, services.mlflow_login).new_page()
    docs = with_login(browser, str(services.docs_login).split(":")).new_page()
    for address in links.values():
        if address.startswith(services.prefect_page):
            follow_into_prefect(prefect, address, str(services.prefect_login))
            prefect.evaluate("localStorage.clear(), sessionStorage.clear()")  # the next link comes to a stranger again
            continue
        assert refused(stranger, address), address
        page = mlflow if address.startswith(services.mlflow_page) else docs
        follow_with_login(page, address, words_of(services, address))


def test_logins_work_on_each_page_as_they_are_printed(
    shop: Shop, browser: Browser, stranger: APIRequestContext
) -> None:
    lines = [line.strip() for line in shop.run("logins").splitlines()]
    at = {name: number for number, line in enumerate(lines) for name in ("Prefect", "MLflow", "Data Docs")
          if line.startswith(name)}  # fmt: skip
    address = {name: lines[number].split()[-1] for name, number in at.items()}
    follow_into_prefect(browser.new_page(), f"{address['Prefect']}/", lines[at["Prefect"] + 2])
    for name in ("MLflow", "Data Docs"):
        login = [line.partition(": ")[2] for line in lines[at[name] + 2 : at[name] + 4]]
        assert with_login(browser, login).request.get(address[name]).ok
        assert not stranger.get(address[name]).ok
