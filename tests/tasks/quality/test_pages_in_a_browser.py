"""A browser shows pages with hostile titles, names and reasons as plain text."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from expectations.rules import not_in_set
from infra.installation import Installation
from models.gate.results import GateResult, Outcome
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.report import Audit, run_audit
from models.monitoring.drift.calibration.bands import Calibration
from tasks.monitoring.drift.publish_report import DriftPage, render
from tasks.quality.suites import BatchExpectations, validate_batch
from tasks.reports import audit_page, experiment_page, review_page
from tasks.reports.evaluation_plots import plot_groups
from tests.tasks.reports.test_review_page import CHECKS, EXAMPLE, GROUPS, audit_data, page_of
from tests.tasks.reports.test_review_page import page as review  # noqa: F401, a fixture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
    pytest.mark.usefixtures("pages"),
]
HOSTILE = (
    "<script>window.owned = 1</script>\"'><img src=http://evil.example/x onerror='window.owned = 1'></td></table>"
    "<svg onload='window.owned=1'></style></title> | `code` [x](javascript:alert(1)) ![](http://evil.example/y.png) "
    "http://evil.example/z {{ 7 * 7 }} {% raw %} ${7*7} &lt;b&gt; $\\frac{1$"
)
ENDINGS = "\0 \u202e \x1b[2J \r\n end"


@dataclass(frozen=True)
class Seen:
    """A page as a browser shows it."""

    text: str
    requests: list[str]
    messages: list[str]
    elements: int
    """Of those that only the hostile text asks for."""
    owned: Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Callable[[str], Seen]:
    """Opens a page from a file, with scripts allowed."""

    def look(text: str) -> Seen:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        page, requests, messages = browser.new_page(viewport={"width": 1200, "height": 900}), [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: messages.append(message.text))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        injected = (
            "script, iframe, object, embed, form, svg, base, [onload], [onerror], [onclick], a[href^='javascript:']"
        )
        seen = Seen(
            page.evaluate("document.body.textContent"),
            [url for url in requests if not url.startswith(("file:", "data:"))],
            messages,
            page.locator(injected).count() + page.locator("img:not([src^='data:'])").count(),
            page.evaluate("window.owned"),
        )
        page.close()
        return seen

    return look


def assert_plain(seen: Seen, times: int) -> None:
    """The hostile text is there so often, as it is, and did nothing."""
    assert seen.text.count(HOSTILE) >= times
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", seen.text)
    assert (seen.requests, seen.messages, seen.elements, seen.owned) == ([], [], 0, None)


def test_the_review_report_shows_hostile_names_as_text(
    review: review_page.Page,  # noqa: F811
    tmp_path: Path,
    opened: Callable[[str], Seen],
) -> None:
    group = replace(GROUPS[0], trait=HOSTILE, value=HOSTILE)
    plot_groups([group], HOSTILE, tmp_path / "groups.png")
    check = replace(CHECKS[0], name=HOSTILE, detail=HOSTILE + ENDINGS, outcome=Outcome.REFUSED)
    kinds, gate = {**review.version.kinds, "r2": HOSTILE}, GateResult(False, (check,), (group,))
    hostile = replace(
        review,
        version=replace(review.version, kinds=kinds, gate=gate),
        examples=[replace(EXAMPLE, bought=["i1", HOSTILE])],
        titles={"i1": HOSTILE, "i3": HOSTILE + ENDINGS},
        settings={HOSTILE: HOSTILE},
        facts={HOSTILE: HOSTILE},
        libraries={HOSTILE: HOSTILE},
        links={HOSTILE: "http://127.0.0.1/"},
        material=HOSTILE,
    )
    assert_plain(opened(review_page.render(hostile)), 15)


def test_the_audit_shows_hostile_names_as_text(tmp_path: Path, opened: Callable[[str], Seen]) -> None:
    found: Audit = run_audit(audit_data(outcome=True), GateThresholds(), 7)
    groups = [group._replace(trait=HOSTILE, value=HOSTILE) for group in found.groups]
    beside = [one._replace(trait=HOSTILE, value=HOSTILE) for one in found.comparisons]
    named = [{"name": HOSTILE, "shown": 0.5, "bought": 0.5}]
    hostile = replace(found, groups=groups, comparisons=beside, categories=named, brands=named, verdict=HOSTILE)
    page = replace(page_of(hostile, tmp_path), placement=HOSTILE, facts={HOSTILE: HOSTILE})
    assert_plain(opened(audit_page.render(page)), 8)


def test_the_drift_report_shows_hostile_names_as_text(opened: Callable[[str], Seen]) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC)
    signal = {
        "signal": HOSTILE,
        "about": HOSTILE,
        "value": 1.0,
        "low": 0.0,
        "high": 2.0,
        "deviation": 3.0,
        "counted": True,
    }
    report = {"window_from": start, "window_to": end, "verdict": "drifted", "request_id": 1, "model_version": 3}
    report |= {"reasons": [HOSTILE + ENDINGS], "signals": [signal], "drivers": [HOSTILE]}
    report |= {"feed": [{"check": HOSTILE, "detail": HOSTILE, "passed": False}]}
    usual = Calibration(7, 40, 50.0, 3.0, 0.01, None, {}, {})  # type: ignore[arg-type]
    segments = [{"segment": HOSTILE, "users": 9, "moved": {HOSTILE: (0.1, 0.2)}}]
    items = {"Gained most": [{"title": HOSTILE, "change": np.float64(0.1)}]}
    page = DriftPage(report, usual, [], [HOSTILE], segments, items, {HOSTILE: "http://127.0.0.1/"})
    assert_plain(opened(render(page)), 8)


def experiment_page_of(name: str, folder: Path) -> str:
    """Return the page of an experiment with so named a variant, after two days."""
    row = {
        "variant": name,
        "metric": "click_through",
        "about": name,
        "control": 0.1,
        "value": 0.12,
        "verdict": "better",
    }
    row |= {"change": 0.2, "low": 0.1, "high": 0.3, "variance_cut": 0.3}
    none = {"change": None, "low": None, "high": None, "metric": "order_value", "verdict": "not shown"}
    checks = [{"check": check, "passed": check == "a", "detail": name} for check in ("a", name)]
    readout = {"experiment": name, "people": {name: 900}, "checks": checks, "claims": {name: name}, "stopped": name}
    days = [{"until": f"2026-01-0{day}T00:00:00+00:00", "metrics": [row, row | none]} for day in (1, 2)]
    experiment_page.plot_days(days, "click_through", folder / "days.png")
    about = {"placements": name, "started": "2026-01-01 00:00", "ends": "2026-02-01"}
    return experiment_page.render(about, readout | days[-1], folder / "days.png")


def test_the_experiment_report_shows_hostile_names_as_text(tmp_path: Path, opened: Callable[[str], Seen]) -> None:
    assert_plain(opened(experiment_page_of(HOSTILE, tmp_path)), 8)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_experiment_report_fits_every_screen_and_passes_axe(
    browser: Browser, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page.set_content(experiment_page_of("best sellers", tmp_path))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [one["id"] for one in Axe().run(page).response["violations"]] == []
    page.close()


def test_data_docs_show_hostile_names_as_text(installation: Installation, opened: Callable[[str], Seen]) -> None:
    promises = BatchExpectations((not_in_set("kind_unknown", HOSTILE, "kind", ["view"]),), {"rows": (1, None)})
    rows = pa.table({"kind": [HOSTILE] * 3})
    validate_batch(HOSTILE, HOSTILE, promises, rows, {"rows": 3, HOSTILE: 1.0})
    [page] = (installation.settings.var / "data_docs").glob("*/index.html")
    assert_plain(opened(page.read_text()), 4)


def test_markdown_of_reports_is_text_however_it_is_rendered(tmp_path: Path, opened: Callable[[str], Seen]) -> None:
    mistune = pytest.importorskip("mistune")
    found = run_audit(audit_data(outcome=True), GateThresholds(), 7)
    hostile = replace(found, verdict=HOSTILE, groups=[group._replace(value=HOSTILE) for group in found.groups])
    text = audit_page.markdown(replace(page_of(hostile, tmp_path), placement=HOSTILE), "http://127.0.0.1/")
    shown = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough"])(text)
    seen = opened(f"<meta charset='utf-8'><body>{shown}</body>")
    assert_plain(seen, 3)
    assert re.findall(r'href="([^"]*)"', shown) == ["http://127.0.0.1/"]
