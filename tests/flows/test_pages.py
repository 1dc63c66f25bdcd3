"""Pages that people are given: every link leads through the login to its page, and a form decides a review."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from infra.prefect_api.automations import alerts
from infra.registry.client import Registry
from infra.services import data_docs as docs
from infra.services.http_client import basic_auth
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Desk, Shop
    from playwright.sync_api import APIRequestContext, Browser, BrowserContext, Page

    from infra.installation import Installation
    from infra.services.endpoints import Endpoints

_ADDRESS = re.compile(r"https?://[^\s()|\"'<>]+")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}")
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"[0-9a-f-]{8,}|[0-9]+")


def links_of(shop: Shop) -> dict[str, str]:
    """Return one link of each kind in artifacts, MLflow's runs, alerts and events.

    A kind is the link without ids and numbers.
    """
    services = shop.services
    shown = shop.prefect("POST", "/artifacts/filter", {"sort": "CREATED_DESC", "limit": 200})
    [run] = shop.prefect("POST", "/flow_runs/filter", {"sort": "END_TIME_DESC", "limit": 1})
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
    services = stocked.services
    links = links_of(stocked) | {"experiment": Registry(live.endpoints.mlflow_tracking_uri).experiment_page()}
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


def test_mlflow_opens_for_training_and_a_run_with_at_most_forty_metrics_in_named_groups(
    stocked: Shop, version: Any, mlflow: Registry, browser: Browser
) -> None:
    page = with_login(browser, stocked.services.mlflow_login).new_page()
    address = mlflow.page(version.run_id)
    for opened in (stocked.services.mlflow_page, address.partition("/runs")[0], address):
        follow_with_login(page, opened, "Model registry")  # what the page for language models has no entry for
        for words in ("Prompts", "AI Gateway", "Judges", "What should I know"):
            assert page.get_by_text(words).count() == 0, (opened, words)
    listed = page.get_by_role("heading", name=re.compile(r"^Metrics \(\d+\)$")).inner_text()
    assert 20 <= int(_DIGITS.findall(listed)[0]) <= 40
    assert "accuracy/ndcg_at_10" in page.get_by_text("/ndcg_at_10").first.inner_text()
    page.goto(f"{address}/model-metrics")
    for group in ("accuracy", "baselines", "costs", "coverage", "gate"):
        page.get_by_text(re.compile(rf"^{group}\s*\(\d+\)$")).first.wait_for(state="attached", timeout=60_000)


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


def test_a_link_on_the_run_leads_to_the_verdict_on_each_batch(stocked: Shop) -> None:
    services, artifacts = stocked.services, stocked.artifacts("data-docs-%")
    shown = {artifact["description"]: re.search(r"\((http\S+)\)", artifact["data"]) for artifact in artifacts}
    batches = [
        batch_id for (batch_id,) in stocked.sql("SELECT batch_id FROM ingest_batches WHERE status = 'committed'")
    ]
    # Of older batches the pages may be gone, and what other tests kill has no link.
    with_page = [batch_id for batch_id in batches if docs.page_address(stocked.var, services, batch_id)]
    linked = [batch_id for batch_id in with_page if f"Data Docs of {batch_id}" in shown]
    assert linked
    for batch_id in linked:
        link = shown[f"Data Docs of {batch_id}"]
        assert link
        text = httpx.get(link[1], headers={"Authorization": basic_auth(str(services.docs_login))}).text
        assert f"<h1>{batch_id}</h1>" in text
        assert "Passed: every expectation holds." in text


@pytest.fixture
def version(mlflow: Registry) -> Any:
    """Return the version that the demo's review was about."""
    return mlflow.version(1)


def test_a_decided_version_keeps_its_card_and_leads_to_its_training_its_prefect_run_and_its_datas_docs(
    version: Any, mlflow: Registry
) -> None:
    assert version.description.startswith("Version 1 was approved by demo --approve: ")
    for part in ("What it is", "Figures", "The gate", "Limits", "To decide"):
        assert version.description.count(f"\n## {part}\n") == 1
    assert f"({version.tags['report']})" in version.description
    assert version.tags["training_run"] == mlflow.page(version.run_id)
    assert version.tags["prefect_run"] == mlflow.run(version.run_id).tags["prefect_run"]
    assert version.tags["data_docs"].rstrip("/").endswith(version.tags["dataset_version"])


def test_the_report_is_an_artifact_of_the_run_with_real_people_on_it(
    version: Any, mlflow: Registry, stocked: Shop, tmp_path: Path
) -> None:
    assert version.tags["report"] == mlflow.artifact_page(version.run_id, "review/report.html")
    text = mlflow.download(version.run_id, "review/report.html", tmp_path).read_text(encoding="utf-8")
    assert "Version 1 passed the gate" in text
    shown = re.findall(r"<h3>([0-9a-f]{8}) <small>", text)
    keys = [key for (key,) in stocked.sql("SELECT user_key FROM identity.users")]
    assert len(shown) == 10
    assert all(sum(key.startswith(name) for key in keys) == 1 for name in shown)
    assert not [key for key in keys if key in text]
    assert "household-" not in text
    assert text.count("data:image/png;base64,") >= 5
    assert not re.search(r"<script|<link|@import|src=\"http", text)


def test_the_prefect_run_leads_to_the_version_and_the_report(version: Any, mlflow: Registry, stocked: Shop) -> None:
    shown = {artifact["key"]: artifact["data"] for artifact in stocked.artifacts("%-version-1")}
    assert f"({mlflow.version_page(1)})" in shown["version-page-version-1"]
    assert f"({version.tags['report']})" in shown["report-version-1"]
    assert {"training-run-version-1", "data-docs-version-1"} <= set(shown)


@pytest.fixture
def form(stocked: Shop, desk: Desk, signed_in_browser: BrowserContext) -> Iterator[Page]:
    """Open the form of the `decide` deployment."""
    deployment = stocked.prefect("GET", "/deployments/name/decide/decide")
    page = signed_in_browser.new_page()
    page.goto(f"{desk.installation.endpoints.deployments_page}/deployment/{deployment['id']}/run")
    page.get_by_text("The person who decides; it is recorded.").wait_for()
    yield page
    page.close()


def decided(desk: Desk, version: int) -> Any:
    """Wait for the decision, which a run of the worker applies after the form was sent."""
    return until(lambda: desk.review(version)["decision"], 120)


def fill(page: Page, decision: str, reason: str) -> None:
    """Choose, sign and send."""
    page.get_by_role("button", name="Select").click()
    page.get_by_role("option", name=decision).click()
    reviewer, why = page.locator("textarea").all()[:2]
    reviewer.fill("ann")
    why.fill(reason)
    page.get_by_role("button", name="Submit").click()


@pytest.mark.parametrize(("choice", "decision"), [("approve", "approved"), ("reject", "rejected")])
def test_a_decision_in_the_form_is_recorded_and_a_yes_promotes_the_version(
    desk: Desk, form: Page, choice: str, decision: str
) -> None:
    before, version = desk.champion()["model_version"], desk.ask()
    fill(form, choice, reason=f"we {choice} it")
    assert decided(desk, version) == decision
    review = desk.review(version)
    assert (review["via"], review["reviewer"], review["reason"]) == ("form", "ann", f"we {choice} it")
    assert desk.champion()["model_version"] == (version if decision == "approved" else before)
    form.get_by_text("Completed").first.wait_for(timeout=60_000)
