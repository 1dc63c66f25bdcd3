"""What Segment's official libraries send reaches the lake exactly once."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from infra.services.embedded_postgres import EmbeddedPostgres
from models.columns import LEDGER
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.monitoring.realised_accuracy import realised_accuracy
from tests.conftest import fresh_database
from tests.installations import chosen
from tests.published import published, put_back, shelf
from tests.serving.events.inbox_database import InboxDatabase
from tests.tasks.ingest.inbox.collecting import (
    AGREED,
    Collecting,
    collecting,
    library_folder,
    pages,
    run_node,
)
from tests.tasks.ingest.inbox.recorded_libraries import LIBRARIES, send

CONSENT = json.dumps(AGREED)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""Chromium without a window calls itself a robot."""


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("pages")
    with pages(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def collector(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, page_folder: tuple[Path, str]
) -> Iterator[Collecting]:
    folder = tmp_path_factory.mktemp("collecting")
    with (
        contextmanager(fresh_database)(postgres, "migrated") as url,
        chosen(url, folder / "var") as here,
        collecting(here, folder, page_folder[1]) as made,
    ):
        yield made


DAYS_AGO = 20
"""When the list is shown; the test moves the messages of now back to that day."""


def clicked(name: str, number: int, **stated: Any) -> dict[str, Any]:
    return {
        "user_id": f"user {number % 7}",
        "event": "Product Clicked",
        "properties": {"product_id": "cup"},
        "context": AGREED,
        "message_id": f"{name}-{number}",
        **stated,
    }


def of(ids: list[str], name: str) -> list[str]:
    return [one for one in ids if one.startswith(f"{name}-")]


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def history(path: Path, now: datetime) -> str:
    """Ten users who buy every week."""
    lines = []
    for day in range(1, 120, 3):
        for user in range(10):
            at = (now - timedelta(days=day, minutes=user)).isoformat()
            products = [{"product_id": f"old {(user + day) % 5}", "price": 2, "quantity": 1, "name": "Old"}]
            properties = {"order_id": f"o{day}-{user}", "products": products, "currency": "EUR"}
            call = {"type": "track", "event": "Order Completed", "messageId": f"h{day}-{user}", "userId": f"u{user}"}
            lines.append(json.dumps(call | {"timestamp": at, "properties": properties, "context": AGREED}))
    path.write_text("\n".join(lines))
    return str(path)


def test_a_click_on_a_shown_list_is_learned_from_and_counted(collector: Collecting, tmp_path: Path) -> None:
    installation, now = collector.api.here, datetime.now(UTC)
    ingest_segment.fn("segment", history(tmp_path / "history.jsonl", now))
    key = collector.api.key("ann")
    client = collector.python()
    client.identify("ann", {}, AGREED)  # her consent counts at once
    client.flush()
    published(installation.engine, {key: [("cup", 2.0, "why"), ("pan", 1.0, "why")]}, shelf(k=2))
    shown_at = now - timedelta(days=DAYS_AGO)
    put_back(installation.engine, (shown_at - timedelta(hours=1)).timestamp())

    answer: dict[str, Any] = {}
    bearer = {"authorization": f"Bearer {collector.read_key}"}
    with httpx.Client(base_url=collector.server.address, headers=bearer) as reader:

        def is_shown() -> bool:
            answer.update(reader.get("/v1/users/ann/recommendations", params={"k": 2}).json())
            return [item["item_id"] for item in answer["items"]] == ["cup", "pan"]

        eventually(is_shown)
    origin = {"recommendation_id": answer["recommendation_id"], "placement": "home", "position": 1}
    client.track("ann", "Product Clicked", {"product_id": "cup", **origin}, AGREED)
    bought = {"order_id": "loop", "currency": "EUR", "products": [{"product_id": "cup", "price": 3, "quantity": 1}]}
    client.track("ann", "Order Completed", bought, AGREED)
    client.flush()
    client.join()
    assert collector.errors == []
    stored = "SELECT count(*) FROM event_inbox WHERE kind = 'answers' AND payload ->> 'user_key' LIKE :key"
    eventually(lambda: collector.api.rows(stored, key=f"%{key}%")[0][0] >= 1)
    # The clock of the library stays, so that the correction by `sentAt` moves the calls back, too.
    collector.api.rows(f"UPDATE event_inbox SET received_at = received_at - interval '{DAYS_AGO} days'")
    moved = collector.api.move()

    rows = [row for row in collector.api.lake() if row["user_key"] == key]
    mine = [row for row in rows if row["recommendation_id"] in (None, answer["recommendation_id"])]
    kinds = sorted(row["event_type"] for row in mine)
    assert kinds == ["click", "impression", "impression", "purchase"], f"{moved}\n{collector.api.state()}"
    manifest = build_dataset.fn(split_by(validation_days=7, test_days=7))
    impressions = installation.lake.read_dataset(manifest["version"], "impressions").to_pylist()
    labels = {
        row["item_id"]: row["label"] for row in impressions if row["recommendation_id"] == answer["recommendation_id"]
    }
    assert labels == {"cup": 1, "pan": 0}
    start, stop = shown_at - timedelta(days=1), shown_at + timedelta(days=1)
    outcome = realised_accuracy(installation, start.timestamp(), stop.timestamp())
    assert outcome is not None
    (row,) = [row for row in outcome.to_pylist() if row["user_key"] == key]
    assert (row["targets"], row["hits"]) == (1, 1)


def test_python_and_requests_as_other_libraries_write_them_arrive_once_with_their_times(collector: Collecting) -> None:
    client = collector.python()
    for number in [*range(300), *range(50)]:
        client.track(**clicked("python", number))
    client.identify("user 1", {"plan": "pro"}, AGREED, message_id="python-identify")
    client.page("user 1", None, "Home", message_id="python-page")
    client.group("user 1", "firm", message_id="python-group")
    client.alias("visitor", "user 1", message_id="python-alias")
    client.screen("user 1", None, "Start", message_id="python-screen")
    client.flush()
    client.join()
    assert collector.errors == []
    expected = {one.name: [f"{one.name}-{number}" for number in (1, 2)] for one in LIBRARIES}
    at = datetime.now(UTC) - timedelta(minutes=1)
    for library in (one for one in LIBRARIES for _ in range(2)):  # each request is repeated
        status = send(library, collector.server.address, collector.write_key, expected[library.name], at)
        assert status == "HTTP/1.1 200 OK", library.name
    arrived = collector.accepted()
    assert of(arrived, "python") == sorted(f"python-{number}" for number in range(300))
    assert {name: of(arrived, name) for name in expected} == expected
    ids = {f"web:{one}" for ids in expected.values() for one in ids}
    for row in (row for row in collector.api.lake() if row["event_id"] in ids):
        assert abs(row["occurred_at"] - at) < timedelta(seconds=6), (row["event_id"], row["occurred_at"], at)
    counts = collector.api.ledger()
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")
    assert "user 1" not in collector.server.log.read_text()


@pytest.fixture(scope="module")
def browser(page_folder: tuple[Path, str]) -> Iterator[Browser]:
    with chromium(page_folder[0]) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(user_agent=AGENT)
    yield context.new_page()
    context.close()


def send_by_node(collector: Collecting) -> None:
    run_node(f"""
        const {{ Analytics }} = require('@segment/analytics-node')
        const options = {{ writeKey: '{collector.write_key}', host: '{collector.server.address}', flushAt: 15 }}
        const analytics = new Analytics(options)
        for (let number = 0; number < 60; number++) analytics.track({{
            userId: 'user ' + number % 7, event: 'Product Clicked', properties: {{ product_id: 'pan' }},
            context: {CONSENT}, messageId: 'node-' + number % 50 }})
        analytics.closeAndFlush({{ timeout: 20000 }})
    """)


def test_node_and_a_browser_send_clicks_alone_and_in_batches_which_are_joined_at_the_login(
    collector: Collecting, page: Page, page_folder: tuple[Path, str]
) -> None:
    send_by_node(collector)
    load_library(page, collector, page_folder[1])
    device = page.evaluate(
        f"""async () => {{
            const consent = {{ context: {CONSENT} }}
            await shop.page('Home', {{}}, consent)
            await shop.track('Product Clicked', {{ product_id: 'cup' }}, {{ ...consent, messageId: 'browser-1' }})
            await shop.identify('browser user', {{ plan: 'pro' }}, consent)
            await shop.track('Product Added', {{ product_id: 'pan' }}, {{ ...consent, messageId: 'browser-2' }})
            await shop.group('firm', {{}}, consent)
            await shop.alias('browser user 2', 'browser user', consent)
            return (await shop.user()).anonymousId()
        }}"""
    )
    api = collector.api
    names = {api.key(name): name for name in ("browser user", "browser user 2")} | {api.device(device): device}

    def profiles() -> dict[str, list[str]]:
        rows = api.rows("SELECT subject, items FROM session_profiles")
        return {names[row.subject]: list(row._mapping["items"]) for row in rows if row.subject in names}

    # After a login the library states the present user in both ids of an alias.
    eventually(lambda: profiles() == {"browser user": ["cup", "pan"]})
    load_library(page, collector, page_folder[1], "{ deliveryStrategy: { strategy: 'batching', config: { size: 3 } } }")
    with page.expect_response(lambda answer: answer.url.endswith("/v1/b") and answer.status == 200):
        page.evaluate(
            f"""() => {{
                for (let number = 0; number < 3; number++) shop.track('Product Clicked', {{ product_id: 'cup' }},
                    {{ context: {CONSENT}, messageId: 'batched-' + number }})
            }}"""
        )
    arrived = collector.accepted()
    assert of(arrived, "node") == sorted(f"node-{number}" for number in range(50))
    assert of(arrived, "browser") == ["browser-1", "browser-2"]
    assert of(arrived, "batched") == ["batched-0", "batched-1", "batched-2"]
    owners = {tuple(row) for row in api.rows("SELECT anonymous_key, user_key FROM aliases")}
    assert (api.device(device), api.key("browser user")) in owners


def test_the_click_of_a_visitor_counts_in_the_next_live_answer(collector: Collecting) -> None:
    credentials = base64.b64encode(f"{collector.write_key}:".encode()).decode()
    with httpx.Client(base_url=collector.server.address) as client:

        def source(visitor: str) -> str:
            reader = {"authorization": f"Bearer {collector.read_key}"}
            answer = client.get("/v1/recommendations", params={visitor: "visitor 9", "k": 3}, headers=reader)
            return str(answer.json()["source"])

        def send(**stated: Any) -> None:
            body = {"anonymousId": "visitor 9", "context": AGREED, **stated}
            answer = client.post("/v1/t", json=body, headers={"authorization": f"Basic {credentials}"})
            assert answer.status_code == 200

        assert source("session") != "live"
        send(type="track", event="Product Viewed", properties={"product_id": collector.champion_items[0]})
        eventually(lambda: source("session") == "live", 1.0)


PAGE = Path(__file__).parents[4] / "docs" / "collector.md"


def block(language: str) -> str:
    """The blocks of the page in a language."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def test_the_blocks_of_the_documentation_send_events_of_each_kind_of_sender(
    collector: Collecting, page: Page, page_folder: tuple[Path, str]
) -> None:
    address, before = collector.server.address, "SELECT coalesce(max(inbox_id), 0) FROM event_inbox"
    latest = collector.api.rows(before)[0][0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "TAILORBIRD_SETTINGS": "none"}
    script = "set -euo pipefail\n" + block("sh").replace("http://127.0.0.1:8000", address) + "\necho KEY=$WRITE_KEY"
    done = subprocess.run(["/bin/bash", "-c", script], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '{"success":true}' in done.stdout
    key = done.stdout.rpartition("KEY=")[2].strip()
    variables |= {"WRITE_KEY": key, "API": address}
    assert run_python(block("python"), variables)
    run_node(block("js"), variables)
    shown = block("html").replace("WRITE_KEY", key).replace("http://127.0.0.1:8000", address)
    (page_folder[0] / "shop.html").write_text(shown)
    with page.expect_response(lambda answer: answer.url.endswith("/v1/t") and answer.status == 200):
        page.goto(f"{page_folder[1]}/shop.html")
    names = "SELECT payload ->> 'event' AS event FROM event_inbox WHERE inbox_id > :latest AND kind = 'call'"
    sent = [row.event for row in collector.api.rows(names, latest=latest)]
    for event in ("Product Clicked", "Product Added", "Order Completed", "Product Viewed"):
        assert sent.count(event) == 1, sent


def run_python(program: str, variables: dict[str, str]) -> bool:
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, timeout=60)
    return done.returncode == 0


def test_events_arrive_once_while_postgres_is_away_and_the_collector_is_killed(
    collector: Collecting, postgres: EmbeddedPostgres
) -> None:
    url = collector.api.here.engine.url.render_as_string(hide_password=False)
    database = InboxDatabase(url, postgres, Path())

    client = collector.python(max_queue_size=1200, max_retries=60, timeout=5)

    def send(first: int, last: int) -> None:
        """Send clicks, each tenth twice."""
        for number in (one for one in range(first, last) for _ in range(1 + (one % 10 == 0))):
            names = (f"user {number % 100}", "Product Clicked", {"product_id": "cup"})
            client.track(*names, AGREED, message_id=f"storm-{number}")

    send(0, 200)
    database.go_away()
    send(200, 400)
    database.come_back()
    with collector.killed():
        send(400, 600)
    client.flush()
    client.join()
    assert collector.errors == []
    assert of(collector.accepted(), "storm") == sorted(f"storm-{number}" for number in range(600))
    counts = collector.api.ledger()
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start a browser; the folder gets a page with the library. Skips the test without Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    library = library_folder() / "@segment" / "analytics-next" / "dist" / "umd" / "index.js"
    shutil.copy(library, folder / "analytics.js")
    (folder / "index.html").write_text("<!DOCTYPE html><title>Shop</title><script src=analytics.js></script>")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def load_library(page: Page, collector: Collecting, address: str, strategy: str = "{}") -> None:
    """Go to a page, and load the library as `shop`."""
    page.goto(address)
    page.evaluate(
        f"""() => {{
            window.shop = AnalyticsNext.AnalyticsBrowser.load(
                {{ writeKey: '{collector.write_key}', cdnURL: '{collector.server.address}' }},
                {{ integrations: {{ 'Segment.io': {strategy} }} }})
        }}"""
    )
