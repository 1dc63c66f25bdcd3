import base64
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from models.evaluation.example_users import Example, ExampleList
from models.gate.results import Check, GateResult, Outcome, not_applicable
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.figures import AuditData, AuditItems
from models.monitoring.audit.report import Audit, run_audit
from models.monitoring.realised_accuracy import UserOutcomes
from tasks.reports.audit_page import PLOTS, AuditPage, markdown, plot_audit
from tasks.reports.audit_page import render as render_audit
from tasks.reports.evaluation_plots import plot_groups
from tasks.reports.review_page import BOUGHT, Page, Plot, render
from tests.models.reviewed import ALONE, CHECKS, EVALUATIONS, GROUPS, VERSION

HOSTILE = "<script>alert(1)</script>\"'>{{ 7 * 7 }}<img src=http://evil.example/x>$\\broken$"
KEY = "9f3a21bc77aa55ee"
REFUSED = Check("no group worse by age", -0.0106, -0.0265, Outcome.REFUSED, "65+ fares worst.", -0.0276, -0.0071)
WORSE = replace(GROUPS[1], difference=-0.1, low=-0.13, high=-0.09, passed=False)
EXAMPLE = Example(
    KEY, 12, ExampleList(["i1", "i2"], 0.31), ExampleList(["i3", "i1"], 0.22), ["i1", "i9"], frozenset({"i1"})
)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    plot_groups(GROUPS, "champion (als)", tmp_path / "groups.png")
    return Page(
        version=replace(VERSION, gate=GateResult(True, (CHECKS[0], REFUSED), (GROUPS[0], WORSE, GROUPS[2]))),
        material="Learned from what 2,467 people bought.",
        plots=[Plot("Calibration", "Good?", tmp_path / "groups.png"), Plot("Over-fit", "", tmp_path / "none.png")],
        group_plot=Plot("Differences by group", "", tmp_path / "groups.png"),
        examples=[EXAMPLE],
        titles={"i1": "Milk, 1 l", "i2": "", "i3": "Bread"},
        facts={"git commit": "8b9ff9c"},
        settings={"trees": "200"},
        libraries={"numpy": "2.4.0"},
        links={"the training run": "http://mlflow/#/run"},
    )


def judged(page: Page, *checks: Check, passed: bool = True) -> Page:
    return replace(page, version=replace(page.version, gate=GateResult(passed, checks)))


def plain(text: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.partition("</style>")[2])))


def test_the_verdict_stands_on_top_then_what_to_do(page: Page) -> None:
    text = plain(render(page))
    parts = (
        page.version.verdict,
        "tailorbird decide 3 --approve",
        "The gate's questions",
        "Figures beside other models",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "set the tag review to approved or rejected" in text
    refused = plain(render(judged(page, REFUSED, passed=False)))
    assert "a version that the gate refuses serves nobody" in refused
    assert "override" in refused


def test_checks_are_listed_with_value_interval_and_limit_as_far_as_there_are_any_and_passes_last(page: Page) -> None:
    text = plain(render(page))
    assert "✗ no group worse by age -0.0106 -0.0276 to -0.0071 -0.0265 65+ fares worst." in text
    assert "✓ has figures 900 900 ndcg_at_10 is a number" in text
    assert text.index("✗ no group") < text.index("✓ has figures")
    unmeasured = Check(
        "better than the champion", float("nan"), 0.0, Outcome.REFUSED, "the champion was not measured on all."
    )
    unsure = Check("no group worse by age", 0.1, 0.0, Outcome.PASSED, "Fine.", float("nan"), float("nan"))
    text = plain(render(judged(page, unmeasured, unsure)))
    assert "✗ better than the champion not measured 0 the champion was not measured on all." in text
    assert "✓ no group worse by age 0.1000 0 Fine." in text
    warning = Check("shows items evenly", 0.9, 0.84, Outcome.WARNING, "Gini index 0.900.")
    unasked = not_applicable("no group worse", "No trait divides people into groups.")
    text = plain(render(judged(page, CHECKS[0], unasked, warning)))
    assert "! shows items evenly 0.9000 0.8400 Warning. Gini index 0.900." in text
    assert "? no group worse Not asked. No trait divides people into groups." in text
    assert text.index("! shows items") < text.index("? no group") < text.index("✓ has figures")


def test_figures_stand_beside_the_reference_with_the_difference(page: Page) -> None:
    text = plain(render(page))
    assert "0.4393 0.4255 to 0.4526 0.4213 0.4075 to 0.4350 +0.0180 ▲ +0.0180 to +0.0180" in text
    assert "Items that are new to the person" in text
    unmeasured = replace(page.version, evaluations=EVALUATIONS | {"r1": EVALUATIONS["r2"]})
    assert "Items that are new to the person" not in plain(render(replace(page, version=unmeasured)))
    alone = plain(render(replace(page, version=ALONE, examples=[])))
    assert "There is no model to compare with" in alone
    assert "▲ +" not in alone


def test_groups_are_drawn_and_listed(page: Page) -> None:
    text = plain(render(page))
    assert "✓ age 65+ 1,200 0.4000 0.4100 +0.0100 -0.0100 to +0.0300" in text
    assert "✗ age 19-24 80" in text
    assert page.group_plot.data in render(page)
    assert "There are no traits to form groups by" in plain(render(judged(page)))


def test_a_person_is_shown_with_both_shelves_hits_and_purchases_and_no_more_of_the_key(page: Page) -> None:
    text = plain(render(page))
    assert "9f3a21bc 12 baskets before" in text
    assert KEY not in render(page)
    assert "champion (als) NDCG 0.220 Bread new Milk, 1 l ✓ bought again" in text
    assert "this version NDCG 0.310 +0.090 Milk, 1 l ✓ bought again i2 new" in text
    assert "then bought 2 items Milk, 1 l again i9 new" in text
    assert "These people are not hand-picked. All people are sorted by the gain of this version" in text
    many = replace(EXAMPLE, bought=[f"b{number}" for number in range(BOUGHT + 4)])
    text = plain(render(replace(page, examples=[many])))
    assert f"b{BOUGHT - 1} new and 4 more" in text
    assert f"b{BOUGHT} " not in text


def test_plots_are_inside_the_page_which_asks_nobody_for_anything(page: Page) -> None:
    text = render(page)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 2
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert "Over-fit This version has none." in plain(text)
    fetched = re.findall(r'\b(?:src|srcset|poster|data)="([^"]*)"', text)
    assert all(address.startswith("data:image/png;base64,") for address in fetched)
    assert not re.search(r"<(script|link|iframe|object|embed|base|form)\b", text)
    assert not re.search(r"url\(|@import|http-equiv=\"refresh", text)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text


def audit_data(outcome: bool) -> AuditData:
    """240 people, of whom the old are served badly; a group and a category have hostile names."""
    random = np.random.default_rng(7)
    n = 240
    age = np.where(np.arange(n) < 80, "old", HOSTILE)
    ndcg = np.where(age == "old", 0.05, 0.4) + random.random(n) * 0.1
    one, zero = np.ones(n), np.zeros(n)
    came = UserOutcomes(one * 2, one, one, one, ndcg, zero, zero, ndcg / 4)
    goods = AuditItems(
        np.arange(30.0), np.arange(30.0), np.array(["Tea", HOSTILE, ""] * 10), np.array(["Own", ""] * 15)
    )
    shown = random.random((n, 30)) * (random.random((n, 30)) < 0.3)
    shown /= shown.sum(axis=1, keepdims=True)
    bought = sparse.csr_array(random.random((n, 30)) < 0.3)
    return AuditData({"age": age}, sparse.csr_array(shown), bought, goods, came if outcome else None)


def page_of(audit: Audit, folder: Path) -> AuditPage:
    plot_audit(audit, folder)
    plots = [Plot(title, about, folder / f"{name}.png") for name, (title, about, _, _) in PLOTS.items()]
    return AuditPage("home", 0.0, 28 * 86_400.0, [3, 4], audit, GateThresholds(), plots, {"run": "r1"}, {})


@pytest.fixture
def audited(tmp_path: Path) -> AuditPage:
    return page_of(run_audit(audit_data(outcome=True), GateThresholds(), 7), tmp_path)


def test_the_page_names_the_group_that_is_served_worse_and_shows_four_pictures(audited: AuditPage) -> None:
    text = render_audit(audited)
    assert audited.audit.status == "beyond margin"
    assert "Worst off: age old (80 people)" in text
    assert text.count('<tr class="refused">') == 1
    assert text.count("data:image/png;base64,") == len(PLOTS) == 4
    assert "1 January 1970 to 29 January 1970" in text
    assert "Versions 3, 4 of the model" in re.sub(r"\s+", " ", text)


def test_a_page_without_outcomes_states_that_and_shows_what_needs_none(tmp_path: Path) -> None:
    text = render_audit(page_of(run_audit(audit_data(outcome=False), GateThresholds(), 7), tmp_path))
    assert "neither accuracy nor any group can be judged" in text
    assert text.count("data:image/png;base64,") == 3
    assert "NDCG@10</th>" not in text
    assert "popularity lift</th>" in text


def test_the_table_in_prefect_keeps_its_cells_whatever_groups_are_called(audited: AuditPage) -> None:
    renamed = replace(
        audited, audit=replace(audited.audit, groups=[g._replace(value="a|b\nc") for g in audited.audit.groups])
    )
    lines = [line for line in markdown(renamed, "http://here/x").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {11}
    assert "[The whole audit](http://here/x)" in markdown(renamed, "http://here/x")
    assert "<script" not in re.sub(r"\\<", "", markdown(audited, "x"))
