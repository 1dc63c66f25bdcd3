"""A person decides on Prefect's page, in a real browser."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from infra.services.http_client import basic_auth, request_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Desk
    from playwright.sync_api import BrowserContext, Page


@pytest.fixture
def form(desk: Desk, signed_in_browser: BrowserContext) -> Iterator[Page]:
    """Open the form of the `decide` deployment."""
    login = str(desk.installation.endpoints.prefect_login)
    api = desk.installation.endpoints.prefect_api_url
    deployment = request_json("GET", f"{api}/deployments/name/decide/decide", {"Authorization": basic_auth(login)})
    page = signed_in_browser.new_page()
    page.goto(f"{desk.installation.endpoints.deployments_page}/deployment/{deployment['id']}/run")
    page.get_by_text("The person who decides; it is recorded.").wait_for()
    yield page
    page.close()


def decided(desk: Desk, version: int) -> str | None:
    """Wait for the decision, which a run of the worker applies after the form was sent."""
    end = time.monotonic() + 120
    while time.monotonic() < end and desk.review(version)["decision"] is None:
        time.sleep(0.5)
    return desk.review(version)["decision"]


def fill(page: Page, decision: str, reason: str) -> None:
    """Choose, sign and send."""
    page.get_by_role("button", name="Select").click()
    page.get_by_role("option", name=decision).click()
    reviewer, why = page.locator("textarea").all()[:2]
    reviewer.fill("ann")
    why.fill(reason)
    page.get_by_role("button", name="Submit").click()


def test_a_yes_in_the_form_promotes_the_version_that_waits(desk: Desk, form: Page) -> None:
    version = desk.ask()
    fill(form, "approve", reason="shelves look right")
    assert decided(desk, version) == "approved"
    champion = desk.champion()
    assert (champion["model_version"], champion["via"]) == (version, "form")
    assert (champion["actor"], champion["reason"]) == ("ann", "shelves look right")
    form.get_by_text("Completed").first.wait_for(timeout=60_000)


def test_a_no_in_the_form_leaves_the_champion(desk: Desk, form: Page) -> None:
    before, version = desk.champion()["model_version"], desk.ask()
    fill(form, "reject", reason="too much fruit")
    assert decided(desk, version) == "rejected"
    assert desk.champion()["model_version"] == before
    assert desk.review(version)["via"] == "form"
