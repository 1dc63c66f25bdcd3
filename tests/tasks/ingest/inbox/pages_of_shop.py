"""Pages of a shop in Chromium, with Segment's library for browsers."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.tasks.ingest.inbox.collecting import Collecting, library_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""Chromium without a window calls itself a robot."""


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
